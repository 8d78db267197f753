"""Rows on their way through a worker, some at a time."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ifttool.encode import Sample
from ifttool.io.source import SkippedLine
from ifttool.records import RawRow

_HANDFUL_BYTES = 1 << 17


def handfuls(items: Iterable[RawRow | SkippedLine]) -> Iterator[list[RawRow | SkippedLine]]:
    """Some lines at a time, as much as the caches of a core hold."""
    some: list[RawRow | SkippedLine] = []
    held = 0
    for item in items:
        some.append(item)
        held += item.place.byte_len
        if held >= _HANDFUL_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


class Batch(msgspec.Struct, gc=False):
    """Rows, and the samples prepared from them one behind the other.

    Attributes:
        rows: The rows.
        samples: The samples of all rows.
        stops: For each row, the number of samples up to its last one.
        chars: Characters of all samples.
    """

    rows: list[RawRow] = msgspec.field(default_factory=list)
    samples: list[Sample] = msgspec.field(default_factory=list)
    stops: list[int] = msgspec.field(default_factory=list)
    chars: int = 0

    def add(self, row: RawRow, samples: Sequence[Sample]) -> None:
        self.rows.append(row)
        self.samples.extend(samples)
        self.stops.append(len(self.samples))
        for sample in samples:
            self.chars += len(sample.text)

    def by_row(self) -> Iterator[tuple[RawRow, range]]:
        """Each row, and which samples are its own."""
        start = 0
        for row, stop in zip(self.rows, self.stops, strict=True):
            yield row, range(start, stop)
            start = stop
