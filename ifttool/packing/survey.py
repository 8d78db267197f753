"""First pass over shards: how long their rows are, and which can't be placed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ifttool.errors import RowError
from ifttool.io.shard_lengths import read_lengths
from ifttool.ledger import SourceLedger
from ifttool.packing.inputs import InputShard
from ifttool.records import Place
from ifttool.samples import IntArray

EMPTY, OVERLONG = "IFT401", "IFT402"


@dataclass(frozen=True, slots=True)
class Survey:
    """The rows of a shard by length.

    Attributes:
        shard: Which.
        room: Tokens of the longest row that a pack can hold.
        lengths: Tokens of each row, shape (rows,), int32.
        overlong: Rows that no pack can hold, ascending, shape (overlong,), int64.
        empty: Rows in which a trainer would find nothing to predict, shape (empty,), int64.
    """

    shard: InputShard
    room: int
    lengths: IntArray
    overlong: npt.NDArray[np.int64]
    empty: npt.NDArray[np.int64]

    @property
    def ledger(self) -> SourceLedger:
        """Every row ends as placed or left out."""
        dropped = Counter({OVERLONG: len(self.overlong), EMPTY: len(self.empty)})
        kept = len(self.lengths) - dropped.total()
        return SourceLedger(lines=len(self.lengths), kept=kept, dropped=+dropped)

    def left_out(self) -> Iterator[tuple[Place, RowError]]:
        """Rows that aren't placed, in order, and why. Lines count from 1, as for Parquet rows everywhere."""
        for row in np.sort(np.concatenate((self.overlong, self.empty))).tolist():
            yield Place(self.shard.path, row + 1, -1, -1), self._reason(int(self.lengths[row]))

    def _reason(self, tokens: int) -> RowError:
        if tokens > self.room:
            return RowError(OVERLONG, f"{tokens:,} tokens, where a pack holds {self.room:,}", hint="raise --length")
        return RowError(EMPTY, f"{tokens} tokens: there is nothing to predict")


def survey_shard(shard: InputShard, *, length: int, unread: int) -> Survey:
    """Measure a shard; only its loss column is read.

    Args:
        shard: Which.
        length: What a pack holds.
        unread: Tokens of each row that don't count; see ``Layout.unread``.

    Raises:
        InputChanged: It is damaged.
    """
    parts = [np.zeros(0, np.int32)]
    parts += [batch.tokens.astype(np.int32) for batch in read_lengths(Path(shard.path))]
    lengths = np.concatenate(parts)
    room = length + unread
    return Survey(shard, room, lengths, np.flatnonzero(lengths > room), np.flatnonzero(lengths <= unread))
