"""Counters of samples that merge exactly: figures of parts added up equal the figures of the whole."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ifttool.figures.bins import bin_edges
from ifttool.ledger import Tally
from ifttool.samples import LongArray

FORMAT = "ifttool.stats/1"
PERCENTILES = (5, 25, 50, 75, 90, 95, 99)
LONGEST = 5


@dataclass(slots=True)
class Distribution:
    """How often each value of a small non-negative integer occurs, so that every figure is exact.

    Memory grows with the number of different values (token lengths: some thousands), not with the samples.
    """

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, values: LongArray) -> None:
        """Count a batch of values, shape (samples,)."""
        distinct, counts = np.unique(values, return_counts=True)
        for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            self.counts[value] += count

    def __add__(self, other: "Distribution") -> "Distribution":
        return Distribution(self.counts + other.counts)

    @property
    def count(self) -> int:
        """Number of values."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Sum of the values."""
        return sum(value * count for value, count in self.counts.items())

    def percentiles(self, percents: Sequence[int]) -> list[int]:
        """Nearest-rank percentiles: the smallest value that at least P percent of the values don't exceed.

        They are values that occur, never interpolated. The distribution mustn't be empty.
        """
        values = sorted(self.counts)
        reached = np.cumsum([self.counts[value] for value in values])
        whole = self.count
        ranks = [max(1, -(-percent * whole // 100)) for percent in percents]
        return [values[index] for index in np.searchsorted(reached, ranks)]

    def above(self, limit: int) -> "Distribution":
        """The values over ``limit``."""
        return Distribution(Counter({value: count for value, count in self.counts.items() if value > limit}))

    def bins(self) -> list[tuple[int, int, int]]:
        """Half-open bins with round edges and how many values lie in each: ``(low, high, count)``."""
        if not self.counts:
            return []
        edges = bin_edges(min(self.counts), max(self.counts))
        held = [0] * (len(edges) - 1)
        values = list(self.counts)
        for value, index in zip(values, np.searchsorted(edges, values, side="right").tolist(), strict=True):
            held[index - 1] += self.counts[value]
        return list(zip(edges[:-1], edges[1:], held, strict=True))

    def as_json(self) -> dict[str, Any]:
        """``min``, ``mean``, ``p5`` … ``p99``, ``max``; all null if there are no values."""
        names = [f"p{percent}" for percent in PERCENTILES]
        if not self.counts:
            return dict.fromkeys(["min", "mean", *names, "max"])
        return {
            "min": min(self.counts),
            "mean": self.total / self.count,
            **dict(zip(names, self.percentiles(PERCENTILES), strict=True)),
            "max": max(self.counts),
        }


@dataclass(frozen=True, slots=True)
class LongSample:
    """One of the longest samples and where it comes from.

    Attributes:
        tokens: Its length.
        trained_tokens: Training targets in it; None if it has no loss mask.
        source: Its input file, or the shard if the shard has no provenance.
        line: 1-based line in the input, or row in the shard.
        id: The row's identifier, if it has one.
        turn: Message index of the turn it was unrolled for, or None.
    """

    tokens: int
    trained_tokens: int | None
    source: str
    line: int
    id: str | None = None
    turn: int | None = None


@dataclass(slots=True)
class Stats:
    """Figures of samples. Mergeable with ``+`` in input order; parts added up equal the whole.

    Attributes:
        tokens: Lengths of samples.
        trained: Training targets of each sample; empty if there are no loss masks.
        shares: Trained share of each sample in whole percent, rounded down.
        turns: Trained turns of each sample; empty if it isn't known.
        longest: The longest samples, the longest first, earlier ones first among equals.
        tally: The ledger, messages, verdicts and findings; None for shards without a manifest.
    """

    tokens: Distribution = field(default_factory=Distribution)
    trained: Distribution = field(default_factory=Distribution)
    shares: Distribution = field(default_factory=Distribution)
    turns: Distribution = field(default_factory=Distribution)
    longest: list[LongSample] = field(default_factory=list)
    tally: Tally | None = field(default_factory=Tally)

    def add(self, lengths: LongArray, trained: LongArray | None, *, describe: Callable[[int], LongSample]) -> None:
        """Count a batch of samples.

        Args:
            lengths: Tokens of each, shape (samples,).
            trained: Training targets of each, shape (samples,); None without loss masks.
            describe: Position in the batch → what to say of that sample; called only for the longest.
        """
        self.tokens.add(lengths)
        if trained is not None:
            self.trained.add(trained)
            self.shares.add(trained * 100 // np.maximum(lengths, 1))
        shortest = self.longest[-1].tokens if len(self.longest) == LONGEST else -1
        candidates = np.flatnonzero(lengths > shortest)
        first = candidates[np.argsort(-lengths[candidates], kind="stable")[:LONGEST]]
        self.longest = _longest([*self.longest, *map(describe, first.tolist())])

    def __add__(self, other: "Stats") -> "Stats":
        return Stats(
            self.tokens + other.tokens,
            self.trained + other.trained,
            self.shares + other.shares,
            self.turns + other.turns,
            _longest([*self.longest, *other.longest]),
            None if self.tally is None or other.tally is None else self.tally + other.tally,
        )

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.tokens.count

    @property
    def has_masks(self) -> bool:
        """Whether every sample has a loss mask; figures of trained tokens are given only then."""
        return self.trained.count == self.samples

    @property
    def has_turns(self) -> bool:
        """Whether the trained turns of every sample are known."""
        return self.turns.count == self.samples

    def steps(self, batch_size: int, *, max_length: int | None = None) -> int:
        """Optimizer steps of one epoch: batches of ``batch_size`` samples, the last one maybe smaller.

        Samples over ``max_length`` don't count.
        """
        over = 0 if max_length is None else self.tokens.above(max_length).count
        return -(-(self.samples - over) // batch_size)

    def as_json(self, *, max_length: int | None = None, batch_size: int | None = None) -> dict[str, Any]:
        """Everything as plain JSON. Keys are stable; what isn't known or wasn't asked for is null.

        Args:
            max_length: Also count the samples over this many tokens.
            batch_size: Also count the steps of an epoch at this many samples a batch.

        Returns:
            An object with these keys:

            - ``format``: :data:`FORMAT`.
            - ``rows``: input rows (lines that aren't blank); ``kept``: rows that gave samples.
            - ``samples``: number of samples.
            - ``messages``: messages of kept rows by role.
            - ``turns``: trained turns: ``total``, and ``min``, ``mean``, ``p5`` … ``p99``, ``max`` of a sample.
            - ``tokens``: ``total``, and ``min`` … ``max`` of a sample's length.
            - ``trained_tokens``: ``total``, ``share`` of all tokens, ``per_turn``, and ``min`` … ``max`` of a
              sample.
            - ``trained_percent``: trained share of a sample in whole percent, rounded down: ``min`` … ``max``.
            - ``histogram``: half-open bins of lengths: ``from``, ``to``, ``samples``.
            - ``longest``: the longest samples first: ``tokens``, ``trained_tokens``, ``source``, ``line``, ``id``,
              ``turn``.
            - ``over_length``: ``max_length``, ``samples``, their ``share``, their ``tokens``, and
              ``excess_tokens``: the part of these behind the limit.
            - ``epoch``: ``batch_size``, ``steps`` (samples over ``max_length`` left out).
            - ``verdicts``: trained turns by verdict; ``findings``: 5xx codes; ``examples``: first places of these.
            - ``ledger``: ``lines``, ``blanks``, ``kept``, ``rejected`` and ``dropped`` by code;
              ``inputs``: the same for each input.
        """
        ledger = None if self.tally is None else self.tally.total
        tally = None if self.tally is None else self.tally.as_json()
        return {
            "format": FORMAT,
            "rows": None if ledger is None else ledger.lines - ledger.blanks,
            "kept": None if ledger is None else ledger.kept,
            "samples": self.samples,
            "messages": tally and tally["messages"],
            "turns": {"total": self.turns.total, **self.turns.as_json()} if self.has_turns else None,
            "tokens": {"total": self.tokens.total, **self.tokens.as_json()},
            "trained_tokens": self._trained_json(),
            "trained_percent": self.shares.as_json() if self.has_masks else None,
            "histogram": [{"from": low, "to": high, "samples": count} for low, high, count in self.tokens.bins()],
            "longest": [asdict(sample) for sample in self.longest],
            "over_length": None if max_length is None else self._over_json(max_length),
            "epoch": None if batch_size is None else self._epoch_json(batch_size, max_length),
            "verdicts": tally and tally["verdicts"],
            "findings": tally and tally["findings"],
            "examples": tally and tally["examples"],
            "ledger": ledger and ledger.as_json(),
            "inputs": tally and tally["inputs"],
        }

    def _trained_json(self) -> dict[str, Any] | None:
        if not self.has_masks:
            return None
        turns = self.turns.total if self.has_turns else 0
        return {
            "total": self.trained.total,
            "share": _ratio(self.trained.total, self.tokens.total),
            "per_turn": _ratio(self.trained.total, turns),
            **self.trained.as_json(),
        }

    def _epoch_json(self, batch_size: int, max_length: int | None) -> dict[str, Any]:
        return {"batch_size": batch_size, "steps": self.steps(batch_size, max_length=max_length)}

    def _over_json(self, max_length: int) -> dict[str, Any]:
        over = self.tokens.above(max_length)
        return {
            "max_length": max_length,
            "samples": over.count,
            "share": _ratio(over.count, self.samples),
            "tokens": over.total,
            "excess_tokens": over.total - max_length * over.count,
        }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _longest(samples: Sequence[LongSample]) -> list[LongSample]:
    """The longest of them; sorting is stable, so that merging parts in order keeps the earliest of equals."""
    return sorted(samples, key=lambda sample: -sample.tokens)[:LONGEST]
