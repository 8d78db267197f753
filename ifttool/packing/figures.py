"""What a packing run did, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifttool.ledger import Tally
from ifttool.output import Shard


@dataclass(slots=True)
class Fill:
    """How full packs are. Mergeable with ``+``.

    Attributes:
        length: What a pack holds.
        packs: Rows written.
        sequences: Input rows in them.
        tokens: Tokens in them.
        trained_tokens: Training targets in them.
        used: Tokens that a trainer reads of them (all but what its layout leaves unread).
        overlong: Input rows that no pack can hold.
        empty: Input rows with nothing to predict.
        first_tokens_masked: Sequences whose first token bore loss, which it can't in a pack.
    """

    length: int
    packs: int = 0
    sequences: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    used: int = 0
    overlong: int = 0
    empty: int = 0
    first_tokens_masked: int = 0

    @property
    def padding(self) -> int:
        """What a trainer adds that pads every pack to its full length, in tokens."""
        return self.packs * self.length - self.used

    @property
    def rate(self) -> float:
        """Share of the packs' room that is used; 0 if there are no packs."""
        return self.used / (self.packs * self.length) if self.packs else 0.0

    def __add__(self, other: "Fill") -> "Fill":
        return Fill(
            self.length,
            self.packs + other.packs,
            self.sequences + other.sequences,
            self.tokens + other.tokens,
            self.trained_tokens + other.trained_tokens,
            self.used + other.used,
            self.overlong + other.overlong,
            self.empty + other.empty,
            self.first_tokens_masked + other.first_tokens_masked,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "packs": self.packs,
            "sequences": self.sequences,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "fill": round(self.rate, 6),
            "padding": self.padding,
            "overlong": self.overlong,
            "empty": self.empty,
            "first_tokens_masked": self.first_tokens_masked,
        }


@dataclass(frozen=True, slots=True)
class PackSummary:
    """The outcome of a packing run.

    Attributes:
        tally: Every input row as placed or left out; ``samples`` are packs, the rows of the shards.
        shards: What was written.
        splits: How full the packs of each split are.
        rejects: The file of rows that were left out; None if there are none.
    """

    tally: Tally
    shards: tuple[Shard, ...]
    splits: Mapping[str, Fill]
    rejects: Path | None

    @property
    def total(self) -> Fill:
        """All splits together."""
        first, *others = self.splits.values()
        return sum(others, first)

    def as_json(self) -> dict[str, Any]:
        return {
            "rejects": None if self.rejects is None else str(self.rejects),
            **self.tally.as_json(),
            "packing": self.total.as_json(),
            "splits": {name: fill.as_json() for name, fill in self.splits.items()},
            "shards": [shard.as_json() for shard in self.shards],
        }
