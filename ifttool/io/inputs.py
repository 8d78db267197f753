"""Which files to read: patterns to paths, and what kind of file each one is."""

import glob
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ifttool.errors import UsageError
from ifttool.io.compression import detect_compression

STDIN = "-"
HEAD_BYTES = 16
"""How much of a file the detection below looks at."""

_PARQUET_MAGIC = b"PAR1"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def expand_inputs(patterns: Sequence[str]) -> list[str]:
    """Turn paths, globs and ``-`` into the list of files to read.

    A name that exists is taken as it is, also when it holds ``*`` or ``[``. Files of one glob come
    sorted; patterns keep the order in which they were given. Directories that a glob matches are
    left out.

    Args:
        patterns: Paths, glob patterns (``*``, ``?``, ``[…]``, ``**``) and ``-`` for standard input.

    Returns:
        Paths as written or as matched, without duplicates.

    Raises:
        UsageError: A pattern matches nothing, a path is a directory or isn't UTF-8, or a file comes twice (also
            through a link or overlapping globs): its rows would silently count double.
    """
    sources: list[str] = []
    seen: dict[tuple[int, int] | str, str] = {}
    for pattern in patterns:
        for source in _expand(pattern):
            refuse_unwritable(source)
            identity = _identity(source)
            if identity in seen:
                raise UsageError(
                    f"{printable(source)} is the same input as {printable(seen[identity])}",
                    hint="give every file once; its rows would count double",
                )
            seen[identity] = source
            sources.append(source)
    return sources


def refuse_unwritable(path: str) -> None:
    """Refuse a path that no manifest can name.

    Raises:
        UsageError: It isn't UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name {printable(path)} isn't UTF-8", hint="rename it: manifests are UTF-8") from None


def detect_kind(head: bytes, source: str) -> str:
    """Tell what a file is by its first bytes.

    Args:
        head: The first ``HEAD_BYTES`` bytes, or the whole file if it's shorter.
        source: The name for messages.

    Returns:
        ``plain``, ``gz``, ``zst``, ``xz`` or ``parquet``.

    Raises:
        UsageError: The text is UTF-16 or UTF-32: it would be a thousand rejects otherwise.
    """
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    if kind := detect_compression(head):
        return kind
    check_text(head, source)
    return "plain"


def check_text(head: bytes, source: str) -> None:
    """Refuse text that isn't UTF-8 by its first bytes.

    Raises:
        UsageError: A UTF-16 or UTF-32 byte order mark, or the zero bytes that these encodings
            have around an ASCII bracket.
    """
    is_wide = head.startswith(_WIDE_BOMS) or (len(head) > 1 and 0 in head[:2] and any(head[:2]))
    if is_wide:
        width = "32" if b"\0\0" in head[:4] else "16"
        raise UsageError(
            f"{printable(source)} looks like UTF-{width} text; ifttool reads UTF-8",
            hint=f"convert it: iconv -f UTF-{width} -t UTF-8 IN > OUT",
        )


def probe(source: str) -> str:
    """Open a file, look at its first bytes and close it: the check to do before a run starts.

    Args:
        source: A path (not ``-`` or a named pipe, which can't be read twice).

    Returns:
        What ``detect_kind`` says. Only ``plain`` files can be read in byte ranges.

    Raises:
        UsageError: The file can't be opened, or isn't UTF-8 text.
    """
    with open_input(source) as stream:
        return detect_kind(stream.read(HEAD_BYTES), source)


def open_input(source: str) -> BinaryIO:
    """Open a path or standard input for reading bytes.

    Raises:
        UsageError: It can't be opened.
    """
    if source == STDIN:
        return sys.stdin.buffer
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise UsageError(f"can't read {printable(source)}: {error.strerror}") from None


def printable(source: str) -> str:
    """Give a path for messages: control characters and undecodable bytes are escaped."""
    if source.isprintable():
        return source
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in source)


def _expand(pattern: str) -> list[str]:
    if pattern == STDIN:
        return [pattern]
    if Path(pattern).is_dir():
        raise UsageError(
            f"{printable(pattern)} is a directory",
            hint=f"name the files: '{printable(pattern).rstrip('/')}/*.jsonl'",
        )
    if Path(pattern).exists():
        return [pattern]
    # Path.glob takes no absolute patterns and changes how names are written.
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    matches = [name for name in names if not Path(name).is_dir()]
    if not matches:
        is_glob = glob.has_magic(pattern)
        what = "no file matches" if is_glob else "there is no file"
        raise UsageError(f"{what} {printable(pattern)}")
    return sorted(set(matches))


def _identity(source: str) -> tuple[int, int] | str:
    if source == STDIN:
        return STDIN
    try:
        status = Path(source).stat()
    except OSError as error:  # a link that leads nowhere, which a pattern matches
        raise UsageError(f"can't read {printable(source)}: {error.strerror}") from None
    return status.st_dev, status.st_ino
