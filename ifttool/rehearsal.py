"""Rows from all over the inputs: what a worker learns the template on while its encoder loads."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ifttool.errors import IfttoolError
from ifttool.io.source import ByteRange, probe, read_rows
from ifttool.records import RawRow

# Files are often sorted by where their rows come from, and each origin has templates' branches of its own.
_PLACES = 32
# Some dozens of chats, and at least one trajectory.
_BYTES = 1 << 16
# Of a longer line nothing is learnt that shorter ones don't teach, and it would be rehearsed for seconds.
_LONGEST = 1 << 20
# Consecutive numbers give places far from each other: whenever learning ends, it has seen rows of all parts.
_STRIDE = 13


def rows_all_over(sources: Sequence[str]) -> Iterator[RawRow]:
    """Rows of plain files, some from each of 32 places; lines that can't be read are passed over.

    Line numbers aren't those of the file: such rows are to be learnt from, not to be reported on.
    """
    plain = [source for source in sources if Path(source).is_file() and probe(source) == "plain"]
    sizes = [Path(source).stat().st_size for source in plain]
    for number in range(_PLACES):
        at = sum(sizes) * (number * _STRIDE % _PLACES) // _PLACES
        for source, size in zip(plain, sizes, strict=True):
            if at < size:
                with suppress(IfttoolError, OSError):
                    yield from _rows_at(source, at, size)
                break
            at -= size


def _rows_at(source: str, at: int, size: int) -> Iterator[RawRow]:
    with Path(source).open("rb") as file:
        file.seek(at)
        if at and not file.readline(_LONGEST).endswith(b"\n"):
            return
        start = file.tell()
        file.seek(min(start + _BYTES, size))
        file.readline(_LONGEST)
        stop = file.tell()
    if start < stop:
        rows = read_rows(source, byte_range=ByteRange(start=start, stop=stop, first_line=1))
        yield from (row for row in rows if isinstance(row, RawRow) and row.terminated)
