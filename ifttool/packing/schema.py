"""The Arrow schemas of packed shards and of their provenance, and how packs become tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ifttool.io.arrow_arrays import number_array
from ifttool.packing.packs import Packs
from ifttool.schema import labels_of

FORMAT = "ifttool.packed/1"


@dataclass(frozen=True, slots=True)
class Layout:
    """What one kind of trainer reads.

    Attributes:
        columns: In order. None is called ``attention_mask``: one that is all ones turns the isolation of sequences
            off in transformers.
        mask_shift: Where ``loss_mask[t]`` says whether ``input_ids[t + mask_shift]`` is a target: 0, or 1 inside each
            sequence, its last 0.
        unread: Tokens of each sequence that don't count towards the length of a pack, since the trainer cuts them.
    """

    columns: tuple[str, ...]
    mask_shift: int = 0
    unread: int = 0


LAYOUTS: Mapping[str, Layout] = {
    "default": Layout(("input_ids", "loss_mask", "labels", "position_ids", "seq_lengths")),
    # What SFTTrainer keeps of a row; it makes positions of seq_lengths with padding_free.
    "trl": Layout(("input_ids", "labels", "seq_lengths")),
    "unsloth": Layout(("input_ids", "labels", "seq_lengths")),
    # Trainer with default_data_collator and batches of one row finds sequences by restarting positions.
    "transformers": Layout(("input_ids", "labels", "position_ids")),
    # Its collator takes input_ids[:-1] of each sequence as inputs, input_ids[1:] as labels and loss_mask[:-1] as it
    # is (megatron-bridge 0.6.2, data/packing/gpt_sft.py), and its own packer counts lengths less one.
    "megatron-bridge": Layout(("input_ids", "loss_mask", "seq_start_id"), mask_shift=1, unread=1),
}

_ELEMENTS = {"loss_mask": pa.int8()}


def _list(name: str, kind: pa.DataType, metadata: Mapping[str, str] | None = None) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("element", kind, nullable=False)), nullable=False, metadata=metadata)


PROVENANCE_SCHEMA = pa.schema(
    [
        _list("shards", pa.string()),
        _list("rows", pa.int64()),
        pa.field("sequences", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("trained_tokens", pa.int32(), nullable=False),
    ]
)
"""Row-aligned with the packed shard of the same name. ``shards`` and ``rows`` (from 0) say what its sequences are."""


def packed_schema(layout: Layout, metadata: Mapping[str, Any]) -> pa.Schema:
    """The schema of a packed shard; ``metadata`` goes as JSON under the key ``ifttool``, as in unpacked ones."""
    shift = {"shift": str(-layout.mask_shift)} if layout.mask_shift else None
    fields = [
        _list(name, _ELEMENTS.get(name, pa.int32()), shift if name == "loss_mask" else None) for name in layout.columns
    ]
    return pa.schema(fields).with_metadata({"ifttool": json.dumps(metadata, sort_keys=True)})


def stored_mask(packs: Packs, layout: Layout) -> npt.NDArray[np.int8]:
    """The loss mask as the layout stores it, shape (tokens,), int8."""
    if not layout.mask_shift:
        return packs.mask
    # The first token of a sequence is never a target, so that what moves into the sequence before it is 0.
    return np.append(packs.mask[1:], np.int8(0))


def packed_batch(packs: Packs, layout: Layout, schema: pa.Schema) -> pa.RecordBatch:
    """Packs as a record batch; columns of tokens share their offsets and are built from flat buffers."""
    tokens = number_array(packs.tokens.astype(np.int32))
    sequences = number_array(packs.packs.astype(np.int32))
    starts = packs.sequences[:-1]
    flat: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "input_ids": lambda: packs.ids,
        "loss_mask": lambda: stored_mask(packs, layout),
        "labels": lambda: labels_of(packs.ids, packs.mask),
        "position_ids": lambda: np.arange(len(packs.ids), dtype=np.int32) - np.repeat(_int32(starts), packs.lengths),
        "seq_lengths": lambda: _int32(packs.lengths),
        "seq_start_id": lambda: _int32(starts - np.repeat(packs.tokens[:-1], np.diff(packs.packs))),
    }
    arrays = [
        pa.ListArray.from_arrays(
            sequences if field.name.startswith("seq_") else tokens, number_array(flat[field.name]()), type=field.type
        )
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def provenance_batch(packs: Packs, shards: Sequence[str]) -> pa.RecordBatch:
    """What each pack holds, as a record batch of :data:`PROVENANCE_SCHEMA`; ``shards`` names the input shards."""
    offsets = number_array(packs.packs.astype(np.int32))
    trained = np.concatenate((np.zeros(1, np.int64), np.cumsum(packs.mask, dtype=np.int64)))[packs.tokens]
    names = pa.array(shards, pa.string()).take(number_array(packs.shards))
    kinds = [field.type for field in PROVENANCE_SCHEMA]
    return pa.RecordBatch.from_arrays(
        [
            pa.ListArray.from_arrays(offsets, names, type=kinds[0]),
            pa.ListArray.from_arrays(offsets, number_array(packs.rows), type=kinds[1]),
            *(number_array(_int32(np.diff(values))) for values in (packs.packs, packs.tokens, trained)),
        ],
        schema=PROVENANCE_SCHEMA,
    )


def list_lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """Length of each list of a column without nulls, whatever kind of list it is; shape (rows,), int64."""
    lengths: npt.NDArray[np.int64] = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _int32(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    return values.astype(np.int32)
