"""Places that are written: none of them may be an input, or another one of them."""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ifttool.errors import UsageError
from ifttool.io.inputs import STDIN, printable


def check_written(written: Mapping[str, Path], files: Iterable[str]) -> None:
    """Refuse to replace a file that is read, or to write two things to one place; links are followed.

    Args:
        written: What is written where, such as ``{"--rejects": Path("rejects.jsonl")}``.
        files: Files that are read. For ``-``, the file that standard input comes from.

    Raises:
        UsageError: Two of them are the same file.
    """
    taken = {
        _identity(name): f"{'standard input' if name == STDIN else printable(name)}, which is read" for name in files
    }
    for what, path in written.items():
        identity = _identity(os.fspath(path))
        if identity in taken:
            raise UsageError(f"{what} would be written over {taken[identity]}", hint=f"give another place for {what}")
        taken[identity] = f"{printable(str(path))}, where {what} goes"


def is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder or lies in it, once links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _identity(name: str) -> tuple[int, int] | str:
    """What two names of one file share, whether or not it is there."""
    try:
        status = os.fstat(0) if name == STDIN else Path(name).stat()
    except OSError:
        return os.path.realpath(name)
    # Every terminal and pipe of a session may be one and the same, and nothing is lost by writing to it.
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) or name != STDIN else STDIN
