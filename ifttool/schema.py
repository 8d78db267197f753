"""The Arrow schema of shards: the four training columns, their provenance, and how a batch becomes a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ifttool.io.arrow_arrays import flag_array, number_array, optional_int_array, string_array
from ifttool.layouts import COLUMNS
from ifttool.samples import IntArray, LongArray, MaskArray, Samples

FORMAT = "ifttool.examples/1"
IGNORE_LABEL = -100

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

KEYED_PROVENANCE_SCHEMA = PROVENANCE_SCHEMA.append(pa.field("conversation", pa.string(), nullable=False))
"""Where an option depends on what conversations say: with the key of each (``arranging.keys``) as hex."""


def training_schema(columns: Sequence[str] = COLUMNS, metadata: Mapping[str, Any] | None = None) -> pa.Schema:
    """The schema of a shard.

    Args:
        columns: Which of :data:`ifttool.layouts.COLUMNS`, in order.
        metadata: Written as JSON under the one schema key ``ifttool``. There is no ``huggingface`` key on purpose:
            ``datasets`` before 4 can't read the one that later versions write.
    """
    schema = pa.schema([_FIELDS[name] for name in columns])
    return schema.with_metadata({"ifttool": json.dumps(metadata or {}, sort_keys=True)})


def training_batch(samples: Samples, schema: pa.Schema) -> pa.RecordBatch:
    """Samples as a record batch; columns share their offsets and are built from flat buffers."""
    offsets = number_array(samples.rows.astype(np.int32))
    ids, mask = samples.ids, samples.mask
    flat: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "input_ids": lambda: ids,
        "loss_mask": lambda: mask,
        "labels": lambda: labels_of(ids, mask),
        "attention_mask": lambda: np.ones(len(ids), np.int8),
    }
    arrays = [pa.ListArray.from_arrays(offsets, number_array(flat[field.name]()), type=field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def token_columns(batch: pa.RecordBatch) -> Samples:
    """Ids, mask and row lengths of a training batch, without origins; the opposite of :func:`training_batch`.

    Without a column that tells, no token bears loss (``tokenize --no-loss``).
    """
    ids = flat_values(batch.column("input_ids")).astype(np.int32, copy=False)
    if "loss_mask" in batch.schema.names:
        mask = flat_values(batch.column("loss_mask"))
    elif "labels" in batch.schema.names:
        mask = flat_values(batch.column("labels")) != IGNORE_LABEL
    else:
        mask = np.zeros(len(ids), np.int8)
    return Samples(ids, mask.astype(np.int8, copy=False), row_starts(batch.column("input_ids")), ())


def labels_of(ids: IntArray, mask: MaskArray) -> IntArray:
    """``ids`` where ``mask`` is 1, else :data:`IGNORE_LABEL`; unshifted, shape (tokens,), int32."""
    return np.where(mask.view(np.bool_), ids, np.int32(IGNORE_LABEL))


def row_starts(column: pa.ListArray) -> LongArray:
    """Where each row begins in the flat values of a column, from 0, and the total; shape (rows + 1,), int64."""
    offsets: LongArray = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    offsets -= offsets[0]
    return offsets


def flat_values(column: pa.ListArray) -> npt.NDArray[Any]:
    """The values of all lists of a column, one behind the other."""
    values: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return values


def provenance_batch(samples: Samples, schema: pa.Schema = PROVENANCE_SCHEMA) -> pa.RecordBatch:
    """Where each sample comes from, as a record batch of one of the schemas above."""
    origins = samples.origins
    trained = samples.trained_per_row()
    columns: dict[str, Callable[[], pa.Array]] = {
        "source": lambda: string_array([origin.place.source for origin in origins]),
        "line": lambda: number_array(np.array([origin.place.line for origin in origins], np.int64)),
        "id": lambda: string_array([origin.id for origin in origins]),
        "turn": lambda: optional_int_array([origin.turn for origin in origins]),
        "turns": lambda: number_array(np.array([origin.turns for origin in origins], np.int32)),
        "verdict": lambda: string_array([origin.verdict for origin in origins]),
        "tokens": lambda: number_array(np.diff(samples.rows).astype(np.int32)),
        "trained_tokens": lambda: number_array(trained.astype(np.int32)),
        "truncated": lambda: flag_array([origin.truncated for origin in origins]),
        "conversation": lambda: string_array([origin.conversation for origin in origins]),
    }
    return pa.RecordBatch.from_arrays([columns[name]() for name in schema.names], schema=schema)
