"""Files that are absent or whole: written under a temporary name, synced, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ifttool.errors import RunError, UsageError

# Hidden, so that `*.parquet` and `*` don't match it; independent of the final name, which may
# already have the 255 bytes that file systems allow.
_TEMP_PREFIX = ".ifttool-"
_TEMP_SUFFIX = ".tmp"

_README = "README.md"
_DATA = "data"
_MANIFEST = "manifest.json"
_REJECTS = "rejects.jsonl"
_OURS = frozenset((_DATA, "provenance", "tokenizer", _MANIFEST, _README, _REJECTS))


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only if the block ends without an exception.

    The bytes go to a temporary file in the same folder. At the end it is synced, renamed over
    ``path`` and the folder is synced, so that a power cut leaves the old file or the new one. A
    link is followed: its target is replaced. The block must not close the file.

    Args:
        path: The file to write; its folder exists.

    Yields:
        A buffered binary file.

    Raises:
        RunError: The operating system refused a step (no space, no permission, I/O error). On any
            exception, also ``KeyboardInterrupt``, the temporary file is removed.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f"{_TEMP_PREFIX}{secrets.token_hex(8)}{_TEMP_SUFFIX}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_directory(target.parent)
    except OSError as error:
        # An error with another file's name comes from the block: it isn't about this file.
        if error.filename not in (None, str(temporary), str(target.parent)):
            raise
        raise RunError(f"can't write {path}: {error.strerror or error}") from error


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a small file whole or not at all; see ``atomic_writer``."""
    with atomic_writer(path) as file:
        file.write(data)


def prepare_output_dir(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Make sure that an empty output folder exists.

    Temporary files of a run that died, and the rejects of one that wasn't committed, are removed without ``force``.

    Args:
        path: The folder; it and its parents are made if they don't exist.
        force: Remove an earlier run's output. Only a folder that is surely ours is emptied: it
            holds nothing but what ifttool writes, and a manifest that names ifttool or, after an
            interrupted run, something beside ``README.md`` and ``data/`` (these two are what any
            dataset repository looks like).

    Returns:
        The folder.

    Raises:
        UsageError: The path is a file, or the folder isn't empty and may not be emptied.
        RunError: The operating system refused.
    """
    folder = Path(path)
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{path} is a file; the output is a folder")
        folder.mkdir(parents=True, exist_ok=True)
        entries = sorted(folder.iterdir())
        stale = [entry for entry in entries if _is_temporary(entry)]
        rest = [entry for entry in entries if not _is_temporary(entry)]
        # A run with too many rejects leaves just their list; trying again must not need --force.
        if rest and not force and [entry.name for entry in rest] != [_REJECTS]:
            raise UsageError(
                f"the output folder {path} isn't empty",
                hint="choose another folder, or replace its content with --force",
            )
        _refuse_foreign(folder, rest, was_interrupted=bool(stale))
        # The manifest goes first: without it nothing takes what is left for a complete output.
        for entry in sorted(rest, key=lambda entry: entry.name != _MANIFEST) + stale:
            _remove(entry)
    except OSError as error:
        raise RunError(f"can't prepare the output folder {path}: {error.strerror}") from error
    return folder


def _refuse_foreign(folder: Path, entries: list[Path], *, was_interrupted: bool) -> None:
    names = {entry.name for entry in entries}
    foreign = sorted(names - _OURS)
    if foreign:
        shown = ", ".join(foreign[:5]) + (", …" if len(foreign) > 5 else "")
        raise UsageError(
            f"{folder} holds files that ifttool didn't write: {shown}",
            hint="choose another folder, or remove them yourself",
        )
    if _MANIFEST in names:
        is_ours = b"ifttool" in (folder / _MANIFEST).read_bytes()
    else:
        is_ours = was_interrupted or not names or bool(names - {_README, _DATA})
    if not is_ours:
        raise UsageError(
            f"{folder} doesn't look like an output of ifttool",
            hint="choose another folder, or empty it yourself",
        )


def _is_temporary(entry: Path) -> bool:
    return entry.name.startswith(_TEMP_PREFIX) and entry.name.endswith(_TEMP_SUFFIX)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def fsync_directory(folder: str | os.PathLike[str]) -> None:
    """Make renames in a folder survive a power cut."""
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
