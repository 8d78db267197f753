"""Packed shards and their provenance read back as flat arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ifttool.io.shard_lengths import read_columns
from ifttool.packing.packs import Packs
from ifttool.packing.schema import PROVENANCE_SCHEMA, Layout
from ifttool.samples import LongArray
from ifttool.schema import row_starts, token_columns

_NOWHERE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class PackOrigins:
    """Which rows some packs hold, as provenance has it.

    Attributes:
        names: Input shards.
        sources: The number of each sample's input shard, shape (samples,), int64.
        rows: Its row there, from 0, shape (samples,), int64.
        starts: Where each pack's samples begin, and the total; shape (packs + 1,), int64.
        figures: ``tokens`` and ``trained_tokens`` of each pack, shape (packs,).
    """

    names: list[str]
    sources: LongArray
    rows: LongArray
    starts: LongArray
    figures: Mapping[str, LongArray]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def slice(self, start: int, stop: int) -> "PackOrigins":
        """Packs ``start`` to ``stop``, or as far as there are any."""
        starts = self.starts[start : stop + 1]
        low, high = (int(starts[0]), int(starts[-1])) if len(starts) else (0, 0)
        figures = {name: values[start:stop] for name, values in self.figures.items()}
        return PackOrigins(self.names, self.sources[low:high], self.rows[low:high], starts - low, figures)

    def by_source(self) -> Iterator[tuple[str, LongArray]]:
        """Each input shard with its samples' places, shape (samples of it,), int64."""
        for number in np.unique(self.sources).tolist():
            yield self.names[number], np.flatnonzero(self.sources == number)


def packs_of(batch: Any, layout: Layout) -> Packs | None:
    """Packs as they were before they became columns, without their origins; None if lengths don't add up."""
    samples = token_columns(batch)
    sequences, packs = _boundaries(batch, samples.rows)
    if not np.array_equal(sequences[packs], samples.rows) or (np.diff(sequences) < 1).any():
        return None
    mask = samples.mask
    if layout.mask_shift:
        mask = np.append(np.int8(0), mask[:-1])[: len(mask)]
        mask[sequences[:-1]] = 0
    return Packs(samples.ids, mask, sequences, packs, _NOWHERE, _NOWHERE)


def read_origins(sidecar: Path) -> PackOrigins:
    """The provenance of a packed shard.

    Raises:
        InputChanged: It is damaged.
    """
    numbers: dict[str, int] = {}
    parts: dict[str, list[npt.NDArray[Any]]] = {
        name: [_NOWHERE] for name in ("sources", "rows", "sequences", "tokens", "trained_tokens")
    }
    for batch in read_columns(sidecar, PROVENANCE_SCHEMA.names):
        names = batch.column("shards").flatten().dictionary_encode()
        codes = [numbers.setdefault(name, len(numbers)) for name in names.dictionary.to_pylist()]
        parts["sources"].append(np.array(codes, np.int64)[names.indices.to_numpy()])
        parts["rows"].append(batch.column("rows").flatten().to_numpy())
        for name in ("sequences", "tokens", "trained_tokens"):
            parts[name].append(batch.column(name).to_numpy())
    joined = {name: np.concatenate(arrays).astype(np.int64) for name, arrays in parts.items()}
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(joined["sequences"])))
    figures = {name: joined[name] for name in ("tokens", "trained_tokens")}
    return PackOrigins(list(numbers), joined["sources"], joined["rows"], starts, figures)


def _boundaries(batch: Any, tokens: LongArray) -> tuple[LongArray, LongArray]:
    """Where sequences begin among the tokens, and packs among the sequences, each with the total."""
    names = batch.schema.names
    if "seq_lengths" in names:
        lengths = batch.column("seq_lengths")
        ends = np.cumsum(lengths.flatten().to_numpy(), dtype=np.int64)
        return np.concatenate((np.zeros(1, np.int64), ends)), row_starts(lengths)
    if "seq_start_id" in names:
        column = batch.column("seq_start_id")
        packs = row_starts(column)
        starts = column.flatten().to_numpy() + np.repeat(tokens[:-1], np.diff(packs))
        return np.append(starts, tokens[-1]), packs
    starts = np.flatnonzero(batch.column("position_ids").flatten().to_numpy() == 0)
    sequences = np.append(starts, tokens[-1])
    return sequences, np.searchsorted(sequences, tokens)
