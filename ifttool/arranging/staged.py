"""Parts of a run on their way to shards: read back as samples."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ifttool.records import Place
from ifttool.samples import Origin, Samples
from ifttool.schema import token_columns, training_schema
from ifttool.shards import read_batches

STAGE_SCHEMA = training_schema(("input_ids", "loss_mask"))
"""What parts hold that are yet to be arranged. Every training column follows from these two."""


@dataclass(frozen=True, slots=True)
class Part:
    """The samples of one split of the input.

    Attributes:
        index: The split's place in input order.
        source: Number of its input.
        shard: Ids and masks, of :data:`STAGE_SCHEMA`.
        provenance: The row-aligned sidecar.
    """

    index: int
    source: int
    shard: Path
    provenance: Path

    def samples(self) -> Iterator[Samples]:
        """The samples, one row group at a time."""
        for tokens, origins in zip(read_batches(self.shard), read_batches(self.provenance), strict=True):
            yield as_samples(tokens, origins)

    def columns(self, *names: str) -> Iterator[dict[str, list[Any]]]:
        """Some columns of the sidecar, one row group at a time."""
        with pq.ParquetFile(self.provenance, page_checksum_verification=True) as file:
            for index in range(file.num_row_groups):
                group: dict[str, list[Any]] = file.read_row_group(index, columns=list(names)).to_pydict()
                yield group


def as_samples(tokens: pa.RecordBatch, origins: pa.RecordBatch) -> Samples:
    """Samples from columns of :data:`STAGE_SCHEMA` and of a provenance sidecar, row by row."""
    return replace(token_columns(tokens), origins=_origins(origins))


def _origins(batch: pa.RecordBatch) -> list[Origin]:
    column = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    keys = column.get("conversation", repeat(None))
    # The byte range of the input row isn't in the sidecar, and nothing behind the workers asks for it.
    return [
        Origin(Place(source, line, -1, -1), name, turn, turns, verdict, truncated, key)
        for source, line, name, turn, turns, verdict, truncated, key in zip(
            column["source"],
            column["line"],
            column["id"],
            column["turn"],
            column["turns"],
            column["verdict"],
            column["truncated"],
            keys,
            strict=False,
        )
    ]
