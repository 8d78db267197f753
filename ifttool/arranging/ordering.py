"""Samples in their final order: that of the input, or a shuffled one, in bounded memory."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ifttool.arranging.keys import chance
from ifttool.arranging.routing import Route
from ifttool.arranging.staged import STAGE_SCHEMA, Part, as_samples
from ifttool.samples import Samples
from ifttool.schema import KEYED_PROVENANCE_SCHEMA, PROVENANCE_SCHEMA, provenance_batch, training_batch
from ifttool.shards import concatenate

# Tokens that are scattered, or put in order, at once. A sample takes 5 bytes a token and some 200 bytes more, all of it
# about three times while it is sorted: some 100 MB with samples of 200 tokens.
_AT_ONCE = 4_000_000
_SLICE_ROWS = 1024

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive samples.

    Attributes:
        samples: The samples.
        held_out: Which of them go to the validation split, shape (samples,).
        source: Number of their input.
        copy: How often they came before.
    """

    samples: Samples
    held_out: Flags
    source: int
    copy: int


def in_input_order(parts: Sequence[Part], routes: Mapping[int, Route]) -> Iterator[Batch]:
    """Samples input by input; an input with copies comes once as a whole, then again, as epochs do."""
    for source, own in groupby(parts, key=lambda part: part.source):
        members = list(own)
        most = max(int(routes[part.index].max(initial=1)) for part in members)
        for copy in range(most):
            for part in members:
                yield from _visit(part, routes[part.index], source, copy)


def _visit(part: Part, route: Route, source: int, copy: int) -> Iterator[Batch]:
    at = 0
    for samples in part.samples():
        own = route[at : at + len(samples)]
        at += len(samples)
        keep = own > copy if copy else own != 0
        if keep.any():
            yield Batch(samples.take(keep), own[keep] < 0, source, copy)


def shuffled(batches: Iterable[Batch], stage: Path, *, seed: int, tokens: int) -> Iterator[tuple[Samples, Flags]]:
    """Samples in an order that depends on the seed and on where each comes from, and on nothing else.

    Each sample has a random number of its own; the order is that of these numbers. In a first pass samples are
    scattered into files by the leading part of their numbers, in a second each file is sorted.

    Args:
        batches: The samples, in input order.
        stage: A folder for these files.
        seed: Another seed gives another order.
        tokens: How many there are, about.

    Yields:
        Samples, and which of them are held out.
    """
    buckets = [stage / f"bucket-{number:05d}" for number in range(max(1, -(-tokens // _AT_ONCE)))]
    pending: list[tuple[Samples, Flags, npt.NDArray[np.uint64]]] = []
    held = 0
    for batch in batches:
        pending.append((batch.samples, batch.held_out, _numbers(batch, seed)))
        held += len(batch.samples.ids)
        if held >= _AT_ONCE:
            _scatter(pending, buckets)
            pending, held = [], 0
    if pending:
        _scatter(pending, buckets)
        pending = []
    for bucket in buckets:
        if bucket.exists():
            yield from _sorted(bucket)
            bucket.unlink()


def _numbers(batch: Batch, seed: int) -> npt.NDArray[np.uint64]:
    """By place, not by content: repeated conversations would come one after the other."""
    pack = struct.Struct("<4q").pack
    numbers = [
        chance(
            pack(batch.source, origin.place.line, -1 if origin.turn is None else origin.turn, batch.copy),
            "shuffle",
            seed,
        )
        for origin in batch.samples.origins
    ]
    return np.array(numbers, np.uint64)


def _scatter(pending: Sequence[tuple[Samples, Flags, npt.NDArray[np.uint64]]], buckets: Sequence[Path]) -> None:
    samples = concatenate([one for one, _, _ in pending])
    numbers = np.concatenate([one for _, _, one in pending])
    table = _with_columns(samples, np.concatenate([one for _, one, _ in pending]), numbers)
    # The number as a fraction of 2^64, times the buckets; 32 bits of it, so that the product fits.
    goes_to = ((numbers >> np.uint64(32)) * np.uint64(len(buckets))) >> np.uint64(32)
    order = np.argsort(goes_to, kind="stable")
    table = table.take(pa.array(order))
    ends = np.searchsorted(goes_to[order], np.arange(len(buckets) + 1, dtype=np.uint64)).tolist()
    for bucket, low, high in zip(buckets, ends, ends[1:], strict=False):
        if low < high:
            _append(bucket, table.slice(low, high - low))


def _with_columns(samples: Samples, held_out: Flags, numbers: npt.NDArray[np.uint64]) -> pa.RecordBatch:
    """Everything about some samples in one record batch."""
    is_keyed = samples.origins[0].conversation is not None
    tokens = training_batch(samples, STAGE_SCHEMA)
    origins = provenance_batch(samples, KEYED_PROVENANCE_SCHEMA if is_keyed else PROVENANCE_SCHEMA)
    names = [*tokens.schema.names, *origins.schema.names, "held_out", "number"]
    return pa.RecordBatch.from_arrays(
        [*tokens.columns, *origins.columns, pa.array(held_out), pa.array(numbers)], names=names
    )


def _append(bucket: Path, rows: pa.RecordBatch) -> None:
    """One stream behind the other, so that no more than one file is open however many buckets there are."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with bucket.open("ab") as file, pa.ipc.new_stream(file, rows.schema, options=options) as writer:
        writer.write_batch(rows)


def _sorted(bucket: Path) -> Iterator[tuple[Samples, Flags]]:
    tables = []
    with pa.OSFile(str(bucket)) as file:
        while file.tell() < file.size():
            tables.append(pa.ipc.open_stream(file).read_all())
    table = pa.concat_tables(tables)
    order = np.argsort(table.column("number").to_numpy(), kind="stable")
    for low in range(0, len(order), _SLICE_ROWS):
        rows = table.take(pa.array(order[low : low + _SLICE_ROWS])).combine_chunks().to_batches()[0]
        origins = rows.drop_columns(["input_ids", "loss_mask", "tokens", "trained_tokens", "held_out", "number"])
        yield as_samples(rows, origins), rows.column("held_out").to_numpy(zero_copy_only=False)
