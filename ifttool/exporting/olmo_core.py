"""What OLMo-core's NumPy datasets read: raw token ids, a byte a token that says what is trained, and boundaries."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.errors import UsageError
from ifttool.exporting.shard_set import Rows, ShardSet, SourceShard, read_shard
from ifttool.exporting.summary import SplitFigures
from ifttool.samples import LongArray

_DTYPES = (np.uint8, np.uint16, np.uint32)


def write_olmo_core(
    shards: ShardSet, out: Path, *, eos_anywhere: bool = False, vocab_size: int | None = None
) -> dict[str, SplitFigures]:
    """Write ``SPLIT/token_ids_part_*.npy``, ``labels_mask_part_*.npy`` and ``token_ids_part_*.csv.gz``.

    The files have no header, whatever their suffix says. OLMo-core tells documents apart by EOS tokens where files are
    local (ai2-olmo-core 3.0.0, data/utils.py), so a sample is a document only if its one EOS is its last token.

    Args:
        shards: What to export.
        out: An empty folder.
        eos_anywhere: Take samples with other EOS tokens too. They need ``use_array_if_local=False`` in the trainer,
            which makes it read the boundaries of the csv.gz.
        vocab_size: That of the trainer's ``TokenizerConfig``, which decides the width of ids; None for the tokenizer's.

    Returns:
        What was written, by split.

    Raises:
        UsageError: A sample doesn't end with its only EOS token, or an id doesn't fit the vocabulary.
    """
    shards.require_targets()
    if shards.eos_id is None and not eos_anywhere:
        raise UsageError(
            "the tokenizer has no EOS token, which ends documents for OLMo-core", hint="see --eos-anywhere"
        )
    size = shards.vocab_size if vocab_size is None else vocab_size
    if size < shards.vocab_size:
        raise UsageError(f"--vocab-size {size} is less than the tokenizer's {shards.vocab_size}")
    dtype = next(kind for kind in _DTYPES if size - 1 <= np.iinfo(kind).max)
    figures = {}
    for split, files in shards.splits.items():
        (out / split).mkdir()
        figures[split] = SplitFigures()
        for number, shard in enumerate(files):
            eos_id = None if eos_anywhere else shards.eos_id
            _write_part(out / split, number, shard, dtype=dtype, eos_id=eos_id, figures=figures[split])
    return figures


def _write_part(
    folder: Path, number: int, shard: SourceShard, *, dtype: Any, eos_id: int | None, figures: SplitFigures
) -> None:
    name = f"part_{number:04d}"
    documents = 0
    with (
        (folder / f"token_ids_{name}.npy").open("wb") as ids,
        (folder / f"labels_mask_{name}.npy").open("wb") as mask,
        (folder / f"token_ids_{name}.csv.gz").open("wb") as table,
        # Without name and time, so that equal shards give equal bytes.
        gzip.GzipFile("", "wb", fileobj=table, mtime=0) as bounds,
    ):
        for rows in read_shard(shard):
            if eos_id is not None:
                _check_eos(rows, shard, eos_id)
            ids.write(rows.ids.astype(dtype).tobytes())
            mask.write(rows.mask.view(np.bool_).tobytes())
            bounds.write(_bounds(rows.starts + documents))
            documents += int(rows.starts[-1])
            figures.count(rows.ids, rows.mask, len(rows))


def _bounds(starts: LongArray) -> bytes:
    pairs = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    return "".join(f"{start},{stop}\n" for start, stop in pairs).encode()


def _check_eos(rows: Rows, shard: SourceShard, eos_id: int) -> None:
    is_eos = rows.ids == eos_id
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(is_eos, dtype=np.int64)))
    counts = sums[rows.starts[1:]] - sums[rows.starts[:-1]]
    last = is_eos[rows.starts[1:] - 1] if len(rows.ids) else np.zeros(len(rows), np.bool_)
    bad = np.flatnonzero((counts != 1) | ~last)
    if len(bad):
        row = int(bad[0])
        where = "has no EOS token at its end" if not last[row] else f"has {counts[row]} EOS tokens"
        raise UsageError(
            f"{shard.place(rows.first + row)} {where}: OLMo-core would cut it elsewhere",
            hint="a template with one EOS at the end, or --eos-anywhere and use_array_if_local=False in the trainer",
        )
