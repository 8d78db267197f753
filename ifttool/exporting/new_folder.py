"""A folder that is absent or whole: written under a temporary name beside its place, synced, then renamed."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ifttool.errors import RunError, UsageError
from ifttool.io.atomic import fsync_directory
from ifttool.io.inputs import printable

MANIFEST = "manifest.json"
_OLD = "old"


@contextmanager
def new_folder(path: Path, *, force: bool, mark: str) -> Iterator[Path]:
    """A folder to write into, which appears under its name only if the block ends without an exception.

    Args:
        path: Where it will be; its parents are made.
        force: Replace one that an earlier export left there.
        mark: ``format`` in the ``manifest.json`` of folders that may be replaced.

    Yields:
        A hidden folder beside ``path``.

    Raises:
        UsageError: Something is there already that may not be replaced.
        RunError: The operating system refused.
    """
    try:
        _clear_up(path)
        _check(path, force=force, mark=mark)
        with _draft(path) as draft:
            try:
                yield draft
                _sync(draft)
                _put(draft, path)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
    except OSError as error:
        raise RunError(f"can't write {printable(str(path))}: {error.strerror or error}") from error


def _check(path: Path, *, force: bool, mark: str) -> None:
    if not path.exists():
        return
    shown = printable(str(path))
    if not path.is_dir():
        raise UsageError(f"{shown} is a file; the output is a folder")
    if not any(path.iterdir()):
        return
    if not force:
        raise UsageError(f"the output folder {shown} isn't empty", hint="--force replaces an earlier export")
    try:
        found = json.loads((path / MANIFEST).read_bytes())["format"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != mark:
        raise UsageError(f"{shown} isn't an earlier export: it stays", hint="choose another folder, or remove it")


def _hidden(path: Path, kind: str) -> Path:
    """A hidden name beside a folder that tells for which one it is, short enough whatever the name of that is."""
    own = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.absolute().with_name(f".ifttool-{own}-{kind}.tmp")


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A new hidden folder, locked as long as its process lives."""
    draft = _hidden(path, secrets.token_hex(4))
    draft.mkdir(parents=True)
    with _locked(draft):
        yield draft


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock on a folder; gives False if another process holds it, or the file system has no locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = True
    except OSError:
        is_ours = False
    try:
        yield is_ours
    finally:
        os.close(descriptor)


def _clear_up(path: Path) -> None:
    """Remove what killed exports to the same place left: drafts that bear its mark and that nobody holds a lock on."""
    old = _hidden(path, _OLD)
    if old.exists() and not path.exists():
        old.rename(path)  # killed between the two renames of `_put`
    for left in path.absolute().parent.glob(_hidden(path, "*").name):
        with _locked(left) as is_stale:
            if is_stale:
                shutil.rmtree(left)


def _sync(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_directory(parent)


def _put(draft: Path, path: Path) -> None:
    """Rename the draft into place. What was there is renamed away first, since only empty folders are replaced."""
    old = _hidden(path, _OLD)
    if path.exists():
        path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    fsync_directory(path.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)
