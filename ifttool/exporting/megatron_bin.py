"""Megatron-LM's indexed dataset (MMIDIDX, ``.bin`` and ``.idx``): ids alone, for continued pre-training."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ifttool.errors import UsageError
from ifttool.exporting.shard_set import ShardSet, SourceShard, read_shard
from ifttool.exporting.summary import SplitFigures
from ifttool.samples import MaskArray

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
# Codes and the limit are those of megatron-core 0.16.1, core/datasets/indexed_dataset.py (DType).
_UINT16, _INT32 = 8, 4
_UINT16_VOCABULARY = 65500
_CHUNK_ROWS = 1 << 20


def write_megatron_bin(shards: ShardSet, out: Path, *, drop_loss_mask: bool = False) -> dict[str, SplitFigures]:
    """Write ``SPLIT.bin`` and ``SPLIT.idx``; each sample is a document.

    Args:
        shards: What to export.
        out: An empty folder.
        drop_loss_mask: Must be True: the format has no place for a loss mask.

    Returns:
        What was written, by split.

    Raises:
        UsageError: ``drop_loss_mask`` isn't set.
    """
    if not drop_loss_mask:
        raise UsageError(
            "megatron-bin has no loss mask: Megatron-LM would train on every token",
            hint="--drop-loss-mask says that this is meant; for SFT use pack --layout megatron-bridge",
        )
    narrow = shards.vocab_size < _UINT16_VOCABULARY
    return {split: _write_split(out, split, files, narrow=narrow) for split, files in shards.splits.items()}


def _write_split(out: Path, split: str, files: Sequence[SourceShard], *, narrow: bool) -> SplitFigures:
    figures = SplitFigures()
    dtype: Any = np.uint16 if narrow else np.int32
    # The index holds 20 bytes a row in three arrays, one after the other: lengths wait in a file, not in memory.
    spool = out / f".{split}.lengths"
    with (out / f"{split}.bin").open("wb") as tokens, spool.open("wb") as lengths:
        for shard in files:
            for rows in read_shard(shard):
                tokens.write(rows.ids.astype(dtype).tobytes())
                lengths.write(np.diff(rows.starts).astype("<i4").tobytes())
                none: MaskArray = np.zeros(1, np.int8)
                figures.count(rows.ids, none, len(rows))
    with (out / f"{split}.idx").open("wb") as index, spool.open("rb") as lengths:
        index.write(_MAGIC + struct.pack("<QB", _VERSION, _UINT16 if narrow else _INT32))
        index.write(struct.pack("<QQ", figures.rows, figures.rows + 1))
        _write_arrays(index, lengths, rows=figures.rows, width=np.dtype(dtype).itemsize)
    spool.unlink()
    return figures


def _write_arrays(index: BinaryIO, lengths: BinaryIO, *, rows: int, width: int) -> None:
    """Lengths (int32), byte offsets (int64) and the first sequence of each document with the total (int64)."""
    while chunk := lengths.read(4 * _CHUNK_ROWS):
        index.write(chunk)
    lengths.seek(0)
    offset = 0
    while chunk := lengths.read(4 * _CHUNK_ROWS):
        ends = offset + np.cumsum(np.frombuffer(chunk, "<i4"), dtype=np.int64) * width
        index.write(np.concatenate(([offset], ends[:-1])).astype("<i8").tobytes())
        offset = int(ends[-1])
    for start in range(0, rows + 1, _CHUNK_ROWS):
        index.write(np.arange(start, min(start + _CHUNK_ROWS, rows + 1), dtype="<i8").tobytes())
