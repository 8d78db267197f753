"""The phase between parts and shards: which split, which order, how many shards."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ifttool.arranging.cuts import Cut, cut_splits
from ifttool.arranging.ordering import Flags, in_input_order, shuffled
from ifttool.arranging.routing import Routes, route_parts
from ifttool.arranging.spec import TRAIN, VALIDATION, Arrangement
from ifttool.arranging.staged import Part
from ifttool.arranging.writing import Arranged, SplitWriter
from ifttool.samples import Samples
from ifttool.shards import FileFormat


@dataclass(frozen=True, slots=True)
class Stage:
    """Where arranged shards are written, before they get their names.

    Attributes:
        folder: A folder for them and for temporary files.
        file_format: Parquet or Arrow IPC.
        is_file: Whether everything goes into one shard.
    """

    folder: Path
    file_format: FileFormat
    is_file: bool = False


def arrange(
    parts: Sequence[Part], arrangement: Arrangement, stage: Stage, *, schema: pa.Schema, names: Sequence[str]
) -> tuple[list[Arranged], Routes]:
    """Write the samples of all parts as shards, split by split.

    Memory is bounded but for one byte a sample. The bytes depend on the samples, their places in the input and the
    arrangement, not on how they are spread over parts.

    Args:
        parts: The parts, in input order.
        arrangement: What is asked.
        stage: Where shards are written.
        schema: Training columns and metadata of the shards.
        names: Names of the inputs.

    Returns:
        The shards, those of the train split first, and what came of each split and input.

    Raises:
        UsageError: There are fewer samples than shards.
        RunError: I/O failed.
    """
    routes = route_parts(parts, arrangement, names)
    cuts = cut_splits(arrangement, routes.splits)
    if stage.is_file:
        cuts = {name: Cut(1, cut.size, by_tokens=False) for name, cut in cuts.items()}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                SplitWriter(
                    name,
                    cut,
                    stage.folder,
                    schema=schema,
                    file_format=stage.file_format,
                    keyed=arrangement.needs_keys,
                )
            )
            for name, cut in cuts.items()
        }
        for samples, held_out in _ordered(parts, routes, arrangement, stage.folder):
            writers[TRAIN].add(samples.take(~held_out))
            if held_out.any():
                writers[VALIDATION].add(samples.take(held_out))
    return [shard for writer in writers.values() for shard in writer.shards], routes


def _ordered(
    parts: Sequence[Part], routes: Routes, arrangement: Arrangement, folder: Path
) -> Iterator[tuple[Samples, Flags]]:
    batches = in_input_order(parts, routes.of_part)
    if arrangement.shuffle is None:
        return ((batch.samples, batch.held_out) for batch in batches)
    tokens = sum(size.tokens for size in routes.splits.values())
    return shuffled(batches, folder, seed=arrangement.shuffle, tokens=tokens)
