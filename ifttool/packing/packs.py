"""Packs as flat arrays. A leaf."""

from dataclasses import dataclass

import numpy as np

from ifttool.samples import IntArray, LongArray, MaskArray


@dataclass(frozen=True, slots=True)
class Packs:
    """Some packs in order.

    Attributes:
        ids: Token ids, shape (tokens,), int32.
        mask: 1 where a token is a training target, unshifted, 0 for the first of each sequence, shape (tokens,), int8.
        sequences: Where each sequence's tokens begin, and the total; shape (sequences + 1,), int64.
        packs: Where each pack's sequences begin, and the total; shape (packs + 1,), int64.
        shards: For each sequence the index of its input shard, shape (sequences,), int64.
        rows: For each sequence its row there, from 0, shape (sequences,), int64.
    """

    ids: IntArray
    mask: MaskArray
    sequences: LongArray
    packs: LongArray
    shards: LongArray
    rows: LongArray

    def __len__(self) -> int:
        return len(self.packs) - 1

    @property
    def tokens(self) -> LongArray:
        """Where each pack's tokens begin, and the total; shape (packs + 1,), int64."""
        return self.sequences[self.packs]

    @property
    def lengths(self) -> LongArray:
        """Tokens of each sequence, shape (sequences,), int64."""
        return np.diff(self.sequences)

    def slice(self, start: int, stop: int) -> "Packs":
        """Packs ``start`` to ``stop``; the arrays of tokens are views."""
        first, last = int(self.packs[start]), int(self.packs[stop])
        low, high = int(self.sequences[first]), int(self.sequences[last])
        return Packs(
            self.ids[low:high],
            self.mask[low:high],
            self.sequences[first : last + 1] - low,
            self.packs[start : stop + 1] - first,
            self.shards[first:last],
            self.rows[first:last],
        )
