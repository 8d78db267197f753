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
REJECTS = "rejects.jsonl"
REFUSED = "refused.jsonl"
"""Beside an output that wasn't replaced: the rejects of the run that was to replace it."""
_OURS = frozenset((_DATA, "provenance", "tokenizer", _MANIFEST, _README, REJECTS, REFUSED))

# Inside the folder that is replaced, not beside it: that may be a mount point, or its parent not ours to write to.
SUCCESSOR = f"{_TEMP_PREFIX}new{_TEMP_SUFFIX}"
"""Where the output that will replace a finished one grows."""
_PREDECESSOR = f"{_TEMP_PREFIX}old{_TEMP_SUFFIX}"
# A name that marks it as temporary: a later run without --resume takes it away.
JOURNAL = f"{_TEMP_PREFIX}journal{_TEMP_SUFFIX}"
"""In the folder of a run that goes on, or was killed: what it has done so far."""


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


def copy_atomic(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a small file whole or not at all; see ``atomic_writer``. The name in an error is the target's."""
    write_bytes_atomic(target, Path(source).read_bytes())


def prepare_output_dir(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Make sure that there is an empty folder to write an output into.

    Temporary files of a run that died, and the rejects of one that wasn't committed, are removed without ``force``.

    Args:
        path: The folder; it and its parents are made if they don't exist.
        force: Replace an earlier run's output. Only a folder that is surely ours is touched: it
            holds nothing but what ifttool writes, and a manifest that names ifttool or, after an
            interrupted run, something beside ``README.md`` and ``data/`` (these two are what any
            dataset repository looks like).

    Returns:
        The folder to write into: ``path``, or :data:`SUCCESSOR` in it if it holds a finished output, which stays
        until :func:`replace_output`.

    Raises:
        UsageError: The path is a file, or the folder isn't empty and may not be emptied.
        RunError: The operating system refused.
    """
    folder = Path(path)
    stale, rest = check_output_dir(path, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_finished = folder / _MANIFEST in rest
        for entry in stale if is_finished else rest + stale:
            _remove(entry)
        if is_finished:
            folder /= SUCCESSOR
            folder.mkdir()
    except OSError as error:
        raise RunError(f"can't prepare the output folder {path}: {error.strerror}") from error
    return folder


def check_output_dir(path: str | os.PathLike[str], *, force: bool) -> tuple[list[Path], list[Path]]:
    """What :func:`prepare_output_dir` refuses, without changing anything.

    Returns:
        What lies in the folder: what a run that died left half-written, and the rest.

    Raises:
        UsageError: The path is a file, or the folder isn't empty and may not be emptied.
        RunError: The operating system refused.
    """
    folder = Path(path)
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{path} is a file; the output is a folder")
        entries = sorted(folder.iterdir()) if folder.exists() else []
        stale = [entry for entry in entries if _is_temporary(entry)]
        rest = [entry for entry in entries if not _is_temporary(entry)]
        # A run with too many rejects leaves just their list; trying again must not need --force.
        if rest and not force and [entry.name for entry in rest] != [REJECTS]:
            raise UsageError(f"the output folder {path} isn't empty", hint=_ways_out(folder))
        _refuse_foreign(folder, rest, was_interrupted=bool(stale))
    except OSError as error:
        raise RunError(f"can't prepare the output folder {path}: {error.strerror}") from error
    return stale, rest


def is_interrupted(folder: Path) -> bool:
    """Whether a folder holds the journal of a run, or of one that was to replace what is there."""
    return any((root / JOURNAL).is_file() for root in (folder, folder / SUCCESSOR))


def _ways_out(folder: Path) -> str:
    if is_interrupted(folder):
        return (
            "a run was interrupted there: the same command with --resume finishes it; or choose another folder, "
            "or start anew with --force"
        )
    return "choose another folder, or replace its content with --force"


def replace_output(folder: Path) -> None:
    """Put what is in :data:`SUCCESSOR` into the place of the finished output around it, and remove that.

    These are a few renames. The old manifest goes first and the new one comes last: what is between them is never
    taken for a complete output. If one of them fails all are taken back.

    Raises:
        RunError: The operating system refused; the old output is as it was.
    """
    new, old = folder / SUCCESSOR, folder / _PREDECESSOR
    done: list[tuple[Path, Path]] = []
    try:
        if old.exists():
            shutil.rmtree(old)  # of a run that was killed right here; what it was to put there is whole by now
        old.mkdir()
        out = [(entry, old / entry.name) for entry in folder.iterdir() if not _is_temporary(entry)]
        into = [(entry, folder / entry.name) for entry in new.iterdir() if not _is_temporary(entry)]
        out.sort(key=lambda move: move[0].name != _MANIFEST)
        into.sort(key=lambda move: move[0].name == _MANIFEST)
        try:
            for source, target in out + into:
                source.rename(target)
                done.append((source, target))
        except BaseException:
            for source, target in reversed(done):
                target.rename(source)
            raise
        fsync_directory(folder)
        for left in (old, new):
            shutil.rmtree(left)
    except OSError as error:
        raise RunError(f"can't replace the output in {folder}: {error.strerror}") from error


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder. Nobody may be writing there.

    Raises:
        RunError: The operating system refused.
    """
    try:
        for entry in folder.iterdir():
            if _is_temporary(entry):
                entry.unlink()
    except OSError as error:
        raise RunError(f"can't clean up {folder}: {error.strerror}") from error


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
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
