"""MosaicML Streaming shards (MDS) for LLM-Foundry's fine-tuning loader."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.errors import UsageError
from ifttool.exporting.shard_set import Rows, ShardSet, read_shard
from ifttool.exporting.summary import SplitFigures

CUT_OFF = "untrained tokens behind the last target left out"
EOS_ADDED = "samples whose last target isn't EOS, which LLM-Foundry then adds"


def write_mds(shards: ShardSet, out: Path) -> dict[str, SplitFigures]:
    """Write ``SPLIT/index.json`` and ``shard.*.mds`` with one column ``turns``.

    LLM-Foundry joins a sample's turns, context and target by turns; with ``target_prompts: none`` and
    ``target_responses: all`` the targets are the trained tokens (llm-foundry 0.22.0, data/finetuning/collator.py).
    Untrained tokens behind the last target have no place there and change no loss.

    Returns:
        What was written, by split; ``remarks`` counts what isn't as in the shards.

    Raises:
        UsageError: mosaicml-streaming isn't installed.
    """
    shards.require_targets()
    writer_class = _mds_writer()
    figures = {}
    for split, files in shards.splits.items():
        figures[split] = SplitFigures()
        with writer_class(columns={"turns": "json"}, out=str(out / split)) as writer:
            for shard in files:
                for rows in read_shard(shard):
                    _write_rows(writer, rows, shards.eos_id, figures[split])
    return figures


def _mds_writer() -> Any:
    try:
        from streaming import MDSWriter  # noqa: PLC0415 - an extra, and it takes seconds
    except ImportError as error:
        raise UsageError(f"--to mds needs mosaicml-streaming ({error})", hint="pip install 'ifttool[mds]'") from error
    return MDSWriter


def _write_rows(writer: Any, rows: Rows, eos_id: int | None, figures: SplitFigures) -> None:
    for start, stop in pairwise(rows.starts.tolist()):
        ids, mask = rows.ids[start:stop], rows.mask[start:stop]
        writer.write({"turns": masked_runs(ids, mask)})
        last = int(np.flatnonzero(mask)[-1]) + 1  # runs keep no sample without a target
        figures.count(ids[:last], mask[:last], 1)
        figures.remark(CUT_OFF, len(ids) - last)
        figures.remark(EOS_ADDED, int(ids[last - 1] != eos_id))


def masked_runs(ids: Any, mask: Any) -> list[dict[str, list[int]]]:
    """A sample as turns: untrained ``input_ids``, then trained ``labels``.

    Args:
        ids: Token ids, shape (tokens,).
        mask: 1 where a token is a target, shape (tokens,); the first is never one.

    Returns:
        Turns up to the last target; none if there is none.
    """
    edges = np.flatnonzero(np.diff(mask, prepend=0, append=0)).tolist()
    turns = []
    before = 0
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        turns.append({"input_ids": ids[before:start].tolist(), "labels": ids[start:stop].tolist()})
        before = stop
    return turns
