"""The unit of work: some rows of the input → one part file, its counters and its rejects. A pure function."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifttool.errors import RowError
from ifttool.io.atomic import atomic_writer
from ifttool.io.source import SkippedLine, read_rows
from ifttool.ledger import Tally, reject_line
from ifttool.records import Place, RawRow
from ifttool.shards import ShardInfo, ShardWriter
from ifttool.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

# One shard comes of about this much JSONL: some 8-16 M tokens, so that a shard is worth opening and a killed
# run loses little. Shard boundaries depend on it and on the input alone.
SPLIT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Split:
    """Rows ``index`` of the run's units of work, in input order."""

    index: int
    items: Sequence[RawRow | SkippedLine]


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
        items: list[RawRow | SkippedLine] = []
        held = 0
        for item in read_rows(source, stdin=stdin):
            items.append(item)
            held += item.place.byte_len + 64
            if held >= split_bytes:
                yield Split(index, items)
                index, items, held = index + 1, [], 0
        if items:
            yield Split(index, items)
            index += 1
    if not index:
        yield Split(0, ())


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
            left_out += 1
            rejects.write(reject_line(place, data, error, kind=kind))

        with ShardWriter(paths.shard, provenance=paths.provenance, schema=schema) as writer:
            for samples in worker.samples(split.items, tally, refuse):
                writer.add(samples)
    tally.check()
    return SplitResult(split.index, tally, writer.info(), left_out)
