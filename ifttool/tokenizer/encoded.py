"""Token ids of a batch as flat arrays: no Python object per token outlives the encoder."""

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
