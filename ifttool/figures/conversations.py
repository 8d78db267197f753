"""Figures of conversations: rows → samples as ``mask`` makes them, measured instead of written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import BinaryIO

import numpy as np

from ifttool.booking import Refuse
from ifttool.errors import RowError
from ifttool.figures.counters import LongSample, Stats
from ifttool.io.source import SkippedLine, read_rows
from ifttool.ledger import Tally
from ifttool.recipe import Recipe
from ifttool.records import Place, RawRow
from ifttool.samples import Samples
from ifttool.worker import Worker

OnProgress = Callable[[Tally, int], None]
"""Called after each batch with the counts so far and the bytes of input they cover."""


def ignore(place: Place, data: bytes | None, error: RowError, kind: str) -> None:
    """A :data:`ifttool.booking.Refuse` that says nothing; the ledger counts the row all the same."""


def conversation_stats(
    sources: Sequence[str],
    *,
    recipe: Recipe,
    refuse: Refuse = ignore,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
) -> Stats:
    """Figures of the samples that conversations become.

    Lengths are of all samples: ``recipe.max_length`` drops none here, see ``Stats.as_json(max_length=…)``. Rows
    with nothing to train on (``IFT401``) are in the ledger only. Memory doesn't grow with the input.

    Args:
        sources: Files, or ``-``.
        recipe: What ``mask`` would do.
        refuse: Called for every row that is left out.
        stdin: What ``-`` reads.
        on_progress: Called after each batch.

    Raises:
        UsageError: Template, tokenizer or an input can't be used.
        InputChanged: An input is damaged.
    """
    worker = Worker(replace(recipe, max_length=None))
    worker.check_fit()
    items = chain.from_iterable(read_rows(source, stdin=stdin) for source in sources)
    return row_stats(items, worker, refuse=refuse, on_progress=on_progress)


def row_stats(
    items: Iterable[RawRow | SkippedLine],
    worker: Worker,
    *,
    refuse: Refuse = ignore,
    on_progress: OnProgress | None = None,
) -> Stats:
    """Figures of some rows: the part that several workers can do side by side and add up."""
    tally = Tally()
    result = Stats(tally=tally)
    read = 0

    def counted() -> Iterator[RawRow | SkippedLine]:
        nonlocal read
        for item in items:
            read += item.place.byte_len
            yield item

    for samples in worker.samples(counted(), tally, refuse):
        _add(result, samples, has_masks=worker.recipe.bears_loss)
        if on_progress is not None:
            on_progress(tally, read)
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
