"""What fits: turns by their length, samples by theirs. Works on flat arrays; never looks at text."""

from collections.abc import Sequence

import numpy as np

from ifttool.samples import MaskArray, Samples
from ifttool.tokenizer.encoded import EncodedBatch, LongArray

Interval = tuple[int, int]


def mask_turns_by_length(
    mask: MaskArray,
    encoded: EncodedBatch,
    turns: Sequence[Sequence[Interval]],
    limits: tuple[int | None, int | None],
) -> None:
    """Take turns out of the loss whose completion is shorter or longer than the limits; changes ``mask``.

    Args:
        mask: Loss mask, shape (tokens,), int8.
        encoded: The tokens of each row.
        turns: For each row, character intervals of its trained turns.
        limits: Shortest and longest completion, in tokens.
    """
    shortest, longest = limits
    for row, intervals in enumerate(turns):
        low, high = int(encoded.rows[row]), int(encoded.rows[row + 1])
        starts = encoded.starts[low:high]
        for start, stop in intervals:
            tokens = low + np.flatnonzero((starts >= start) & (starts < stop))
            if (shortest is not None and len(tokens) < shortest) or (longest is not None and len(tokens) > longest):
                mask[tokens] = 0


def truncation_lengths(
    samples: Samples, encoded: EncodedBatch, turns: Sequence[Sequence[Interval]], limit: int
) -> tuple[LongArray, LongArray]:
    """How many tokens of each sample to keep.

    A sample is cut behind the last trained turn that fits whole; where none does, at the limit itself, inside a turn.

    Returns:
        Lengths of shape (samples,), int64, and how many of them were cut inside a turn, 0 or 1 each.
    """
    lengths = np.diff(samples.rows)
    kept = np.minimum(lengths, limit)
    inside = np.zeros(len(lengths), np.int64)
    for row in np.flatnonzero(lengths > limit).tolist():
        low, high = int(samples.rows[row]), int(samples.rows[row + 1])
        starts = encoded.starts[low:high]
        mask = samples.mask[low:high]
        ends = [int(np.searchsorted(starts, stop, side="left")) for _, stop in turns[row]]
        whole = [end for end in ends if 0 < end <= limit and mask[:end].any()]
        inside[row] = not whole
        kept[row] = whole[-1] if whole else limit
    return kept, inside


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
