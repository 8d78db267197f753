"""Character intervals → loss mask. A token bears loss if its first character lies in a trained interval."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ifttool.records import Interval
from ifttool.samples import LongArray, MaskArray
from ifttool.tokenizer.encoded import EncodedBatch

Intervals = Sequence[Interval]


def loss_mask(encoded: EncodedBatch, trained: Sequence[Intervals]) -> MaskArray:
    """The loss mask of a batch. The first token of a row is never a target.

    Args:
        encoded: The tokens of each row.
        trained: For each row, sorted disjoint half-open character intervals that bear loss.

    Returns:
        1 where a token is a training target, shape (tokens,), int8.
    """
    return without_first(_inside(encoded, trained).view(np.int8), encoded.rows)


def without_first(mask: MaskArray, rows: LongArray) -> MaskArray:
    """The mask without the first token of each row, which nothing precedes that could predict it; changes it.

    Args:
        mask: Loss mask, shape (tokens,), int8.
        rows: Where each row begins, and the total, shape (rows + 1,), int64.
    """
    first = rows[:-1]
    mask[first[first < rows[1:]]] = 0
    return mask


def widened(encoded: EncodedBatch, trained: Intervals) -> Intervals:
    """Intervals of one row that also take in the token each of them starts inside of.

    ``{% generation %}`` blocks are the template's own word on what is trained, and transformers, for which they are
    written, trains the token that holds a block's first character.
    """
    wide: list[tuple[int, int]] = []
    for start, stop in trained:
        around = encoded.starts[(encoded.starts < start) & (encoded.ends > start)]
        low = max(int(around.min()) if len(around) else start, wide[-1][1] if wide else 0)
        wide.append((low, stop))
    return wide


def straddling(encoded: EncodedBatch, starts: Sequence[Sequence[int]]) -> LongArray:
    """How many tokens of each row begin before a completion starts and end after it.

    Args:
        encoded: The tokens of each row.
        starts: For each row, the characters at which completions start.

    Returns:
        Counts, shape (rows,), int64.
    """
    counts = np.zeros(len(encoded), np.int64)
    for row, points in enumerate(starts):
        low, high = encoded.rows[row], encoded.rows[row + 1]
        for point in points:
            crossing = (encoded.starts[low:high] < point) & (encoded.ends[low:high] > point)
            counts[row] += int(crossing.sum())
    return counts


def _inside(encoded: EncodedBatch, intervals: Sequence[Intervals]) -> npt.NDArray[np.bool_]:
    """Whether each token starts in an interval of its own row, shape (tokens,), bool.

    Rows are laid end to end on one axis, so that one binary search answers for the whole batch.
    """
    positions = encoded.starts
    lengths = np.diff(encoded.rows)
    widest = np.fromiter((max((b for _, b in row), default=0) for row in intervals), np.int64, len(encoded))
    last = np.zeros(len(encoded), np.int64)
    filled = lengths > 0
    if len(positions):
        last[filled] = np.maximum.reduceat(positions, encoded.rows[:-1][filled])
    stride = np.maximum(widest, last) + 2
    base = np.concatenate((np.zeros(1, np.int64), np.cumsum(stride)))[:-1]
    bounds = np.fromiter(
        (
            bound + offset
            for row, offset in zip(intervals, base.tolist(), strict=True)
            for pair in row
            for bound in pair
        ),
        np.int64,
    )
    index = np.searchsorted(bounds, positions + np.repeat(base, lengths), side="right")
    inside: npt.NDArray[np.bool_] = (index & 1).astype(np.bool_)
    return inside
