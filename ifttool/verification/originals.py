"""Finding the inputs of a finished run again, where they were or somewhere else, by content."""

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifttool.errors import UsageError
from ifttool.io.input_digests import InputDigest, digest_input
from ifttool.io.inputs import STDIN, printable


@dataclass(frozen=True, slots=True)
class Originals:
    """Inputs of a run that are there to be read again.

    Attributes:
        found: Where each input is now, by its recorded name.
        missing: Why the others can't be used, by recorded name.
    """

    found: Mapping[str, str]
    missing: Mapping[str, str]


def find_originals(recorded: Mapping[str, Mapping[str, Any]], places: Sequence[str] | None) -> Originals:
    """Look for the inputs of a run.

    Args:
        recorded: ``input_files`` of the manifest: size and digest by name.
        places: Folders and globs to look in instead; None for the recorded names.

    Raises:
        UsageError: A place doesn't exist or holds no file.
    """
    digests = {source: InputDigest(entry["bytes"], entry["sha256"]) for source, entry in recorded.items()}
    if places is None:
        return _in_place(digests)
    return _among(digests, _candidates(places))


def _in_place(digests: Mapping[str, InputDigest]) -> Originals:
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for source, digest in digests.items():
        if source == STDIN or digest.sha256 is None:
            missing[source] = "was a stream, which can't be read again"
        elif not Path(source).is_file():
            missing[source] = "isn't there any more"
        elif digest_input(source) != digest:
            missing[source] = "has changed since the run"
        else:
            found[source] = source
    return Originals(found, missing)


def _among(digests: Mapping[str, InputDigest], candidates: list[str]) -> Originals:
    """Match by size and digest, so that names don't matter. What was a stream takes the one file that is left."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    sizes = {candidate: Path(candidate).stat().st_size for candidate in candidates}
    for source, digest in digests.items():
        fitting = [name for name in candidates if sizes[name] == digest.bytes and name not in found.values()]
        same = next((name for name in fitting if digest_input(name) == digest), None)
        if same is not None:
            found[source] = same
        elif digest.sha256 is not None:
            missing[source] = "has no file of the same content in --inputs"
    streams = [source for source, digest in digests.items() if digest.sha256 is None]
    left = [name for name in candidates if name not in found.values()]
    if len(streams) == len(left) == 1:
        found[streams[0]] = left[0]
    else:
        missing |= dict.fromkeys(streams, f"was a stream; --inputs has {len(left)} files that it could have been")
    return Originals(found, missing)


def _candidates(places: Sequence[str]) -> list[str]:
    names: list[str] = []
    for place in places:
        if Path(place).is_dir():
            files = [os.fspath(path) for path in Path(place).rglob("*") if path.is_file()]
        elif Path(place).exists():
            files = [place]
        else:
            files = [name for name in glob.glob(place, recursive=True) if Path(name).is_file()]  # noqa: PTH207
        if not files:
            raise UsageError(f"there are no files at {printable(place)}", hint="--inputs takes a folder, file or glob")
        names += sorted(files)
    return list(dict.fromkeys(names))
