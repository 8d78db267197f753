"""The Arrow schema of shards: the four training columns, their provenance, and how a batch becomes a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ifttool.samples import Samples

FORMAT = "ifttool.examples/1"
IGNORE_LABEL = -100
COLUMNS = ("input_ids", "loss_mask", "labels", "attention_mask")

_FIELDS = {
    # Non-null lists of non-null numbers; plain `list`, since LargeList and ListView break readers (trainers.md §1).
    "input_ids": pa.field("input_ids", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
    "loss_mask": pa.field("loss_mask", pa.list_(pa.field("element", pa.int8(), nullable=False)), nullable=False),
    "labels": pa.field("labels", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
    "attention_mask": pa.field(
        "attention_mask", pa.list_(pa.field("element", pa.int8(), nullable=False)), nullable=False
    ),
}

PROVENANCE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("turn", pa.int32()),
        pa.field("turns", pa.int32(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("trained_tokens", pa.int32(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
    ]
)
"""Row-aligned with the shard of the same name. ``turn`` is the message a sample was unrolled for, else null."""


def training_schema(columns: Sequence[str] = COLUMNS, metadata: Mapping[str, Any] | None = None) -> pa.Schema:
    """The schema of a shard.

    Args:
        columns: Which of :data:`COLUMNS`, in order.
        metadata: Written as JSON under the one schema key ``ifttool``. There is no ``huggingface`` key on purpose:
            ``datasets`` before 4 can't read the one that later versions write.
    """
    schema = pa.schema([_FIELDS[name] for name in columns])
    return schema.with_metadata({"ifttool": json.dumps(metadata or {}, sort_keys=True)})


def training_batch(samples: Samples, schema: pa.Schema) -> pa.RecordBatch:
    """Samples as a record batch; columns share their offsets and are built from flat buffers."""
    offsets = pa.array(samples.rows.astype(np.int32, copy=False))
    ids, mask = samples.ids, samples.mask
    flat: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "input_ids": lambda: ids,
        "loss_mask": lambda: mask,
        "labels": lambda: np.where(mask.view(np.bool_), ids, np.int32(IGNORE_LABEL)),
        "attention_mask": lambda: np.ones(len(ids), np.int8),
    }
    arrays = [pa.ListArray.from_arrays(offsets, pa.array(flat[field.name]()), type=field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def provenance_batch(samples: Samples) -> pa.RecordBatch:
    """Where each sample comes from, as a record batch of :data:`PROVENANCE_SCHEMA`."""
    origins = samples.origins
    trained = samples.trained_per_row()
    columns: dict[str, list[Any]] = {
        "source": [origin.place.source for origin in origins],
        "line": [origin.place.line for origin in origins],
        "id": [origin.id for origin in origins],
        "turn": [origin.turn for origin in origins],
        "turns": [origin.turns for origin in origins],
        "verdict": [origin.verdict for origin in origins],
        "tokens": np.diff(samples.rows).tolist(),
        "trained_tokens": trained.tolist(),
        "truncated": [origin.truncated for origin in origins],
    }
    return pa.RecordBatch.from_pydict(columns, schema=PROVENANCE_SCHEMA)
