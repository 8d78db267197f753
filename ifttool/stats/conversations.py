"""Figures of conversations: rows → samples as ``mask`` makes them, measured instead of written."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from ifttool.errors import RowError
from ifttool.io.source import SkippedLine, read_rows
from ifttool.ledger import Tally
from ifttool.recipe import Recipe
from ifttool.records import Place, RawRow
from ifttool.samples import Samples
from ifttool.stats.counters import LongSample, Stats
from ifttool.worker import Refuse, Worker


def ignore(place: Place, data: bytes | None, error: RowError, kind: str) -> None:
    """A :data:`ifttool.worker.Refuse` that says nothing; the ledger counts the row all the same."""


def conversation_stats(
    sources: Sequence[str], *, recipe: Recipe, refuse: Refuse = ignore, stdin: BinaryIO | None = None
) -> Stats:
    """Figures of the samples that conversations become.

    Lengths are of all samples: ``recipe.max_length`` drops none here, see ``Stats.as_json(max_length=…)``. Rows with
    nothing to train on (``IFT401``) are in the ledger only. Memory doesn't grow with the input.

    Args:
        sources: Files, or ``-``.
        recipe: What ``mask`` would do.
        refuse: Called for every row that is left out.
        stdin: What ``-`` reads.

    Raises:
        UsageError: Template, tokenizer or an input can't be used.
        InputChanged: An input is damaged.
    """
    worker = Worker(replace(recipe, max_length=None))
    worker.check_fit()
    result = Stats()
    for source in sources:
        result += row_stats(read_rows(source, stdin=stdin), worker, refuse=refuse)
    return result


def row_stats(items: Iterable[RawRow | SkippedLine], worker: Worker, *, refuse: Refuse = ignore) -> Stats:
    """Figures of some rows of one input: the part that workers do for themselves."""
    tally = Tally()
    result = Stats(tally=tally)
    for samples in worker.samples(items, tally, refuse):
        _add(result, samples, has_masks=worker.recipe.bears_loss)
    tally.check()
    return result


def _add(result: Stats, samples: Samples, *, has_masks: bool) -> None:
    lengths = np.diff(samples.rows)
    trained = samples.trained_per_row() if has_masks else None
    origins = samples.origins
    result.turns.add(np.fromiter((origin.turns for origin in origins), np.int64, len(origins)))

    def describe(index: int) -> LongSample:
        origin = origins[index]
        targets = None if trained is None else int(trained[index])
        place = origin.place
        return LongSample(int(lengths[index]), targets, place.source, place.line, origin.id, origin.turn)

    result.add(lengths, trained, describe=describe)
