"""What fits: turns by their length, samples by theirs. Works on flat arrays; never looks at text."""

from collections.abc import Sequence

import numpy as np

from ifttool.records import Interval
from ifttool.samples import LongArray, MaskArray, Samples
from ifttool.tokenizer.encoded import EncodedBatch


def mask_turns_by_length(
    mask: MaskArray,
    encoded: EncodedBatch,
    turns: Sequence[Interval],
    borne: Sequence[Interval],
    limits: tuple[int | None, int | None],
) -> None:
    """Take turns out of the loss whose completion is shorter or longer than the limits; changes ``mask``.

    Args:
        mask: Loss mask of one row, shape (tokens,), int8.
        encoded: The tokens of the row.
        turns: Character intervals of the completions of its trained turns.
        borne: Character intervals in which each of these may bear loss: its completion, and generation blocks.
        limits: Shortest and longest completion, in tokens.
    """
    shortest, longest = limits
    for (start, stop), (low, high) in zip(turns, borne, strict=True):
        tokens = np.count_nonzero((encoded.starts >= start) & (encoded.starts < stop))
        if (shortest is not None and tokens < shortest) or (longest is not None and tokens > longest):
            mask[(encoded.starts >= low) & (encoded.starts < high)] = 0


def truncation_length(
    mask: MaskArray, encoded: EncodedBatch, turns: Sequence[Interval], limit: int
) -> tuple[int, bool]:
    """How many tokens of an over-long row to keep, and whether that cuts a turn.

    A row is cut behind the last trained turn that fits whole; where none does, at the limit itself, inside a turn.
    """
    bounds = [np.searchsorted(encoded.starts, turn, side="left").tolist() for turn in turns]
    # A turn that is masked for its length is no place to end.
    whole = [end for start, end in bounds if end <= limit and mask[start:end].any()]
    return (whole[-1], False) if whole else (limit, True)


def truncated(samples: Samples, kept: LongArray) -> Samples:
    """Samples cut to the given numbers of tokens, shape (samples,), and marked as truncated."""
    lengths = np.diff(samples.rows)
    if (kept == lengths).all():
        return samples
    position = np.arange(len(samples.ids)) - np.repeat(samples.rows[:-1], lengths)
    tokens = position < np.repeat(kept, lengths)
    origins = [
        origin.cut() if left < length else origin
        for origin, left, length in zip(samples.origins, kept.tolist(), lengths.tolist(), strict=True)
    ]
    rows = np.concatenate((np.zeros(1, np.int64), np.cumsum(kept)))
    return Samples(samples.ids[tokens], samples.mask[tokens], rows, origins)
