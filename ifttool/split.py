"""The unit of work: some rows of the input → one part file, its counters and its rejects. A pure function."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifttool.arranging.draw import NOT_TAKEN, Draw
from ifttool.errors import RowError
from ifttool.io.atomic import atomic_writer
from ifttool.io.inputs import STDIN
from ifttool.io.source import ByteRange, SkippedLine, probe, read_rows, split_ranges
from ifttool.ledger import Tally, reject_line
from ifttool.records import Place, RawRow
from ifttool.shards import ShardInfo, ShardWriter
from ifttool.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

# One shard comes of this much JSONL at most: some 4-8 M tokens. Of a plain file each split takes a quarter of what is
# left, so that workers, which are never equally fast, end together; a quarter of the most is the least that is worth
# opening. Shard boundaries depend on these and on the input alone.
SPLIT_BYTES = 16 << 20
_SHARE = 4


@dataclass(frozen=True, slots=True)
class Split:
    """A unit of work: a part of a plain file, which whoever works on it reads, or rows that were read already.

    Attributes:
        index: Its place among the units of the run, in input order.
        source: The input.
        part: Which bytes of a plain file; None if ``items`` holds the rows.
        items: The rows of an input that can only be read from its start (compressed, Parquet, standard input).
        draw: What decides which of the rows are taken; None takes all.
    """

    index: int
    source: str
    part: ByteRange | None = None
    items: Sequence[RawRow | SkippedLine] = ()
    draw: Draw | None = None

    def rows(self) -> Iterable[RawRow | SkippedLine]:
        """The rows, in order.

        Raises:
            InputChanged: The file isn't what it was when the run was planned.
        """
        return self.items if self.part is None else read_rows(self.source, byte_range=self.part)

    @property
    def size(self) -> int:
        """Bytes of input."""
        if self.part is not None:
            return self.part.stop - self.part.start
        return sum(item.place.byte_len + 1 for item in self.items)


@dataclass(frozen=True, slots=True)
class PartPaths:
    """Where a split writes. Names start with a dot, so that no reader takes a part for a shard.

    Attributes:
        shard: Token columns.
        provenance: Row-aligned sidecar, or None.
        rejects: Rows left out, as JSON lines.
    """

    shard: Path
    provenance: Path | None
    rejects: Path


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What a split made: its counts, the figures of its part, and how many rows it left out."""

    index: int
    tally: Tally
    shard: ShardInfo
    rejects: int


def read_splits(
    sources: Iterable[str], *, stdin: BinaryIO | None = None, split_bytes: int = SPLIT_BYTES
) -> Iterator[Split]:
    """Cut inputs into units of work. A split never spans two inputs; without any rows there is one empty split."""
    index = 0
    for source in sources:
        for split in _splits_of(source, index, stdin, split_bytes):
            yield split
            index = split.index + 1
    if not index:
        yield Split(0, "")


def _splits_of(source: str, index: int, stdin: BinaryIO | None, split_bytes: int) -> Iterator[Split]:
    if source != STDIN and Path(source).is_file() and probe(source) == "plain":
        size = Path(source).stat().st_size
        parts = split_ranges(source, lambda start: _split_size(size - start, split_bytes, is_first=not start))
        for number, part in enumerate(parts, index):
            yield Split(number, source, part)
        return
    items: list[RawRow | SkippedLine] = []
    held = 0
    for item in read_rows(source, stdin=stdin):
        items.append(item)
        held += item.place.byte_len + 1
        if held >= split_bytes:
            yield Split(index, source, items=items)
            index, items, held = index + 1, [], 0
    if items:
        yield Split(index, source, items=items)


def _split_size(left: int, most: int, *, is_first: bool) -> int | None:
    """Bytes of the next split of a plain file of which so many are left; None for all, wherever the file ends then."""
    least = most // _SHARE
    if left <= (most if is_first else least + least // 2):
        return None
    return min(most, max(least, left // _SHARE))


def process_split(split: Split, worker: Worker, paths: PartPaths, *, schema: "pa.Schema") -> SplitResult:
    """Make one part of the output.

    Raises:
        RunError: A file can't be written; no part is left behind.
    """
    tally = Tally()
    left_out = 0
    with atomic_writer(paths.rejects) as rejects:

        def refuse(place: Place, data: bytes | None, error: RowError, kind: str) -> None:
            nonlocal left_out
            if error.code == NOT_TAKEN:
                return  # nothing is wrong with it, and half of the input would be copied
            left_out += 1
            rejects.write(reject_line(place, data, error, kind=kind))

        keyed = split.draw is not None
        beside = worker.has_spare_core
        with ShardWriter(paths.shard, provenance=paths.provenance, schema=schema, keyed=keyed, beside=beside) as writer:
            for samples in worker.samples(split.rows(), tally, refuse, draw=split.draw):
                writer.add(samples)
    tally.check()
    return SplitResult(split.index, tally, writer.info(), left_out)
