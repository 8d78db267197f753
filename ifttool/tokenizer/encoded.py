"""Token ids of a batch as flat arrays: no Python object per token outlives the encoder."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]
LongArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Ids and offsets of several texts, row after row.

    Attributes:
        ids: Token ids, shape (tokens,), int32.
        starts: First character of each token in its own text, shape (tokens,), int32.
        ends: One past the last character of each token in its own text, shape (tokens,), int32.
        rows: Where each row's tokens begin, and the total; shape (rows + 1,), int64.
    """

    ids: IntArray
    starts: IntArray
    ends: IntArray
    rows: LongArray

    def __len__(self) -> int:
        return len(self.rows) - 1

    def row(self, index: int) -> "EncodedBatch":
        """One row as a batch of its own; arrays are views."""
        return self.tokens(int(self.rows[index]), int(self.rows[index + 1]))

    def tokens(self, low: int, high: int) -> "EncodedBatch":
        """A stretch of tokens as one row; arrays are views."""
        return EncodedBatch(
            self.ids[low:high], self.starts[low:high], self.ends[low:high], np.array([0, high - low], np.int64)
        )

    def shifted(self, chars: int) -> "EncodedBatch":
        """The same tokens, ``chars`` characters further on in their text."""
        return EncodedBatch(self.ids, self.starts + np.int32(chars), self.ends + np.int32(chars), self.rows)

    def replaced(self, rows: Mapping[int, "EncodedBatch"]) -> "EncodedBatch":
        """A copy in which some rows are other encodings, each a batch of one row."""
        if not rows:
            return self
        return stacked([rows.get(index) or self.row(index) for index in range(len(self))])


def stacked(parts: list[EncodedBatch]) -> EncodedBatch:
    """Batches below each other, as one."""
    if not parts:
        empty = np.zeros(0, np.int32)
        return EncodedBatch(empty, empty, empty, np.zeros(1, np.int64))
    lengths = np.concatenate([np.diff(part.rows) for part in parts])
    return EncodedBatch(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths))),
    )


def joined(parts: list[EncodedBatch]) -> EncodedBatch:
    """Batches of one row each behind each other, as one row."""
    stack = stacked(parts)
    return EncodedBatch(stack.ids, stack.starts, stack.ends, np.array([0, len(stack.ids)], np.int64))
