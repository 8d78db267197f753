"""Finished samples of a batch, as flat arrays beside their origins. A leaf but for the record types."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from ifttool.records import Place

MaskArray = npt.NDArray[np.int8]
IntArray = npt.NDArray[np.int32]
LongArray = npt.NDArray[np.int64]


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where one sample comes from and what was found out about it.

    Attributes:
        place: Its input row.
        id: The row's identifier, if it has one.
        turn: Message index of the turn a sample was unrolled for; None for a whole conversation.
        turns: Number of trained turns in the sample.
        verdict: The worst verdict of its trained turns, or ``none``.
        truncated: Whether tokens were cut off to fit the length limit.
        conversation: What its conversation says, as hex (see :func:`ifttool.arranging.keys.conversation_key`); None
            where no option depends on it.
    """

    place: Place
    id: str | None
    turn: int | None
    turns: int
    verdict: str
    truncated: bool = False
    conversation: str | None = None

    def cut(self) -> "Origin":
        """The origin of the same sample with tokens cut off."""
        return msgspec.structs.replace(self, truncated=True)


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch of samples.

    Attributes:
        ids: Token ids, shape (tokens,), int32.
        mask: 1 where a token is a training target, unshifted, shape (tokens,), int8.
        rows: Where each sample's tokens begin, and the total; shape (samples + 1,), int64.
        origins: One a sample.
    """

    ids: IntArray
    mask: MaskArray
    rows: LongArray
    origins: Sequence[Origin]

    def __len__(self) -> int:
        return len(self.origins)

    def row(self, index: int) -> tuple[IntArray, MaskArray]:
        """Ids and loss mask of one sample, as views."""
        low, high = self.rows[index], self.rows[index + 1]
        return self.ids[low:high], self.mask[low:high]

    def trained_per_row(self) -> LongArray:
        """Number of training targets in each sample, shape (samples,), int64."""
        sums = np.zeros(len(self.rows) - 1, np.int64)
        # Of a row without tokens reduceat would give the next row's first.
        full = np.flatnonzero(np.diff(self.rows))
        if len(full):
            sums[full] = np.add.reduceat(self.mask, self.rows[full], dtype=np.int64)
        return sums

    def take(self, keep: npt.NDArray[np.bool_]) -> "Samples":
        """The samples at the True positions of ``keep``, shape (samples,)."""
        if keep.all():
            return self
        lengths = np.diff(self.rows)
        tokens = np.repeat(keep, lengths)
        rows = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths[keep])))
        origins = [origin for origin, kept in zip(self.origins, keep, strict=True) if kept]
        return Samples(self.ids[tokens], self.mask[tokens], rows, origins)
