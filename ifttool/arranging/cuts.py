"""Where a split is cut into shards."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ifttool.arranging.routing import SplitSize
from ifttool.arranging.spec import SHARD_TOKENS, TRAIN, Arrangement
from ifttool.errors import UsageError
from ifttool.samples import LongArray


@dataclass(frozen=True, slots=True)
class Cut:
    """How a split of known size becomes shards, none of them empty unless the split is.

    Attributes:
        shards: How many.
        size: What the split holds.
        by_tokens: Whether shards are equal in tokens (up to one sample), or in rows (up to one row).
    """

    shards: int
    size: SplitSize
    by_tokens: bool

    def shard_of(self, row: int, lengths: LongArray, token: int) -> LongArray:
        """The shard of each of some consecutive samples, shape (samples,), int64.

        Args:
            row: Samples of the split before them.
            lengths: Tokens of each, shape (samples,).
            token: Tokens of the split before them.
        """
        if self.by_tokens:
            starts = token + np.cumsum(lengths) - lengths
            return starts * self.shards // max(1, self.size.tokens)
        # The inverse of "shard i starts at row i * rows // shards".
        rows = np.arange(row, row + len(lengths), dtype=np.int64)
        return ((rows + 1) * self.shards - 1) // max(1, self.size.rows)


def cut_splits(arrangement: Arrangement, sizes: Mapping[str, SplitSize]) -> dict[str, Cut]:
    """How each split is cut.

    ``shards`` counts those of the train split; other splits get as many as make theirs no larger, at least one.

    Raises:
        UsageError: The train split has fewer samples than it shall have shards.
    """
    if arrangement.shards is None:
        wanted = arrangement.shard_tokens or SHARD_TOKENS
        return {name: Cut(_count(size, wanted), size, by_tokens=True) for name, size in sizes.items()}
    train = sizes[TRAIN]
    if train.rows < arrangement.shards:
        raise UsageError(
            f"{train.rows} samples can't fill {arrangement.shards} shards",
            hint=f"ask for --shards {train.rows} or fewer" if train.rows else "nothing was left to write",
        )
    return {
        name: Cut(max(1, -(-arrangement.shards * size.rows // train.rows)), size, by_tokens=False)
        for name, size in sizes.items()
    }


def _count(size: SplitSize, wanted: int) -> int:
    """Shards of about ``wanted`` tokens. None is shorter than the longest sample, so that each has a sample in it."""
    if not size.tokens:
        return 1
    return max(1, min(-(-size.tokens // wanted), size.tokens // size.longest))
