"""What a run has done so far, so that one that was killed can be finished: keyed by content, not by names and times.

The journal lies in the output folder while the run goes on. A line is added for every part that is whole, once the
digest of its input is known: hashing is ten times as fast as the work and runs beside it, so little is ever missing.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from ifttool.errors import UsageError
from ifttool.io.atomic import JOURNAL, SUCCESSOR, is_interrupted
from ifttool.io.input_digests import InputDigest, InputDigests, digest_input
from ifttool.io.inputs import printable
from ifttool.ledger import Tally
from ifttool.manifest import read_manifest, versions
from ifttool.shards import ShardInfo, file_sha256
from ifttool.split import SPLIT_BYTES, PartPaths, Split, SplitResult
from ifttool.worker import Worker

MANIFEST = "manifest.json"


class Journal:
    """The journal of one run. Use as a context manager.

    Args:
        root: The output folder, prepared.
        key: As :func:`run_key` gives it.
        digests: The digests of the inputs, being computed.

    Raises:
        UsageError: There is a journal of another run: options, versions or inputs differ.
        RunError: It can't be read or written.
    """

    def __init__(self, root: Path, key: Mapping[str, Any], digests: InputDigests) -> None:
        self._root, self._path = root, root / JOURNAL
        self._digests = digests
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._inputs: dict[str, InputDigest] = {}
        self._done: dict[str, dict[str, Any]] = {}
        found = _lines(self._path)
        header, *entries = found or [{"key": key}]
        _check_same(header["key"], key, root)
        for entry in entries:
            if "input" in entry:
                self._inputs[entry["input"]] = InputDigest(entry["bytes"], entry["sha256"])
            else:
                self._done[entry["split"]] = entry
        _check_unchanged(self._inputs, root)
        self._header = None if found else header
        self._file: BinaryIO | None = None

    def __enter__(self) -> "Journal":
        self._file = self._path.open("ab")
        try:
            self._file.truncate(_whole_bytes(self._path))
            if self._header is not None:
                self._write(self._header)
        except BaseException:  # Ctrl-C as well
            self._file.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def clear_leftovers(self) -> None:
        """Remove what a killed run left in its folders and this one won't use."""
        kept = {self._root / name for entry in self._done.values() for name in entry["files"]}
        for name in ("data", "provenance"):
            for path in sorted((self._root / name).rglob("*")):
                if path.is_file() and path not in kept:
                    path.unlink()

    def result(self, split: Split, paths: PartPaths) -> SplitResult | None:
        """What a split made in the run before, if its part is there and whole."""
        entry = self._done.get(_name(split))
        if entry is None or self._digests_of(paths) != entry["files"]:
            return None
        shard = ShardInfo(**entry["shard"])
        return SplitResult(split.index, Tally.from_json(entry["tally"]), shard, entry["rejects"])

    def add(self, split: Split, paths: PartPaths, result: SplitResult) -> None:
        """Note that a part is whole."""
        entry = {
            "split": _name(split),
            "tally": result.tally.as_json(),
            "shard": asdict(result.shard),
            "rejects": result.rejects,
            "files": self._digests_of(paths, known={paths.shard: result.shard.sha256}),
        }
        self._waiting.append((split.source, entry))
        waiting = []
        for source, one in self._waiting:
            if self._is_known(source):
                self._write(one)
            else:
                waiting.append((source, one))
        self._waiting = waiting

    def remove(self) -> None:
        """Remove the journal of a run that is complete, or given up."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _digests_of(self, paths: PartPaths, *, known: Mapping[Path, str] | None = None) -> dict[str, str]:
        """Digests of those files of a part that are there, by path in the output."""
        files = (path for path in (paths.shard, paths.provenance, paths.rejects) if path is not None and path.is_file())
        return {path.relative_to(self._root).as_posix(): (known or {}).get(path) or file_sha256(path) for path in files}

    def _is_known(self, source: str) -> bool:
        """Whether the journal holds the digest of an input; writes it when it is ready. A stream has none."""
        if source not in self._inputs:
            digest = self._digests.ready(source)
            if digest is None or digest.sha256 is None:
                return False
            self._inputs[source] = digest
            self._write({"input": source, **asdict(digest)})
        return True

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def run_key(worker: Worker, sources: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the content of the inputs that decides the bytes of a run."""
    return _plain(
        {
            "versions": versions(),
            "recipe": worker.recipe.as_json(),
            "tokenizer": worker.tokenizer.sha256,
            "special_tokens": worker.tokenizer.special_tokens,
            "options": options,
            "inputs": list(sources),
            "split_bytes": SPLIT_BYTES,
        }
    )


def can_be_resumed(root: Path) -> bool:
    """Whether a folder holds a journal, or was left before there was one."""
    is_new = not root.exists() or (root.is_dir() and not any(path.is_file() for path in root.rglob("*")))
    return is_new or is_interrupted(root)


def _is_being_replaced(root: Path) -> bool:
    """Whether a run was killed that was to replace a finished one."""
    return (root / SUCCESSOR / JOURNAL).is_file()


def finished_run(root: Path, key: Mapping[str, Any], *, force: bool) -> dict[str, Any] | None:
    """The manifest of a run that was finished already; None if there is none, or it was being replaced.

    Raises:
        UsageError: The output is a single file, or of another run, or was to be replaced.
    """
    if force:
        raise UsageError("--resume and --force exclude each other", hint="--force starts anew")
    if root.suffix in (".parquet", ".arrow"):
        raise UsageError("--resume needs a folder to write to: -o names a single file", hint="give -o a folder")
    if not (root / MANIFEST).is_file() or _is_being_replaced(root):
        return None
    manifest = read_manifest(root / MANIFEST)
    then = {name: manifest[name] for name in ("versions", "recipe", "options")}
    then |= {"tokenizer": manifest["tokenizer"]["sha256"], "inputs": list(manifest["input_files"])}
    _check_same(then, {name: key[name] for name in then}, root)
    digests = {source: InputDigest(**entry) for source, entry in manifest["input_files"].items()}
    _check_unchanged(digests, root)
    (root / JOURNAL).unlink(missing_ok=True)
    return manifest


def _check_unchanged(digests: Mapping[str, InputDigest], root: Path) -> None:
    changed = [source for source, digest in digests.items() if digest.sha256 and digest_input(source) != digest]
    if changed:
        raise _other_run(root, [f"{printable(source)} has changed" for source in changed])


def _name(split: Split) -> str:
    """A split by its place in its input. With equal inputs and options, equal names mean equal rows."""
    if split.part is not None:
        return f"{split.index} {split.part.start}-{split.part.stop} {split.source}"
    first = split.items[0].place.line if split.items else 0
    return f"{split.index} {first}+{len(split.items)} {split.source}"


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal up to the first that isn't whole; none if there is no journal."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            lines.append(json.loads(line))
    return lines


def _whole_bytes(path: Path) -> int:
    """Size of a journal without a last line that was cut off."""
    return path.read_bytes().rfind(b"\n") + 1


def _check_same(then: Mapping[str, Any], now: Mapping[str, Any], root: Path) -> None:
    before, after = dict(_flat(then)), dict(_flat(now))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if names:
        raise _other_run(
            root, [f"{name} was {_short(before.get(name))}, is {_short(after.get(name))}" for name in names]
        )


def _other_run(root: Path, differences: list[str]) -> UsageError:
    return UsageError(
        f"{printable(str(root))} was begun by another run: {'; '.join(differences)}",
        hint="resume it with the same inputs and options, or start anew with --force",
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested tables, by path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
