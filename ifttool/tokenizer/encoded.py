"""Token ids of a batch as flat arrays: no Python object per token outlives the encoder."""

from dataclasses import dataclass

import numpy as np

from ifttool.samples import IntArray, LongArray


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


def joined(parts: list[EncodedBatch]) -> EncodedBatch:
    """Batches of one row each behind each other, as one row."""
    ids = np.concatenate([part.ids for part in parts])
    return EncodedBatch(
        ids,
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.array([0, len(ids)], np.int64),
    )
