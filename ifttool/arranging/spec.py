"""What the options ask of the order and the splits of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ifttool.arranging.keys import CERTAIN, chance
from ifttool.arranging.mixture import Weight
from ifttool.errors import UsageError

TRAIN, VALIDATION = "train", "validation"
SHARD_TOKENS = 10_000_000
"""Tokens of a shard where no option says otherwise: about what 32 MB of JSONL give."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Which conversations a run takes, and how it lays them out.

    Attributes:
        validation: The share of conversations that go to a validation split; None for no such split.
        shuffle: The seed of the order; None for input order.
        shards: Number of shards of the train split, equal in rows; None to size them by tokens.
        shard_tokens: Tokens of a shard, about; None for the default.
        dedup: ``exact`` drops conversations that came before; ``none`` keeps them.
        seed: Another seed takes other conversations for the validation split and for weights.
        weights: How much of an input is taken, where not everything once.

    Raises:
        UsageError: A value can't be used, or two exclude each other.
    """

    validation: Fraction | None = None
    shuffle: int | None = None
    shards: int | None = None
    shard_tokens: int | None = None
    dedup: str = "none"
    seed: int = 0
    weights: Mapping[str, Weight] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.validation is not None:
            _check_share(self.validation)
        if self.dedup not in ("none", "exact"):
            raise UsageError(f"--dedup can't be {self.dedup!r}", hint="choose exact or none")
        if self.shards is not None and self.shard_tokens is not None:
            raise UsageError("--shards and --shard-tokens exclude each other")
        for name in ("shards", "shard_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} can't be {value}: it is at least 1")

    @classmethod
    def of(cls, *, validation: float | None = None, **options: Any) -> "Arrangement":
        """From options as they are given; ``validation`` counts as the decimal number that it is written as."""
        if validation is not None:
            _check_share(validation)  # neither nan nor inf makes a fraction
        return cls(validation=None if validation is None else Fraction(str(validation)), **options)

    @property
    def is_default(self) -> bool:
        """Whether nothing is asked, so that parts become shards as they are."""
        return not (self.needs_keys or self.rearranges)

    @property
    def needs_keys(self) -> bool:
        """Whether something depends on what a conversation says."""
        return self.validation is not None or bool(self.weights) or self.needs_survey

    @property
    def needs_survey(self) -> bool:
        """Whether all conversations must be known before the first is taken: inputs are read twice then."""
        return self.dedup != "none" or any(weight.rows is not None for weight in self.weights.values())

    @property
    def rearranges(self) -> bool:
        """Whether parts don't become shards as they are."""
        asked = (self.validation, self.shuffle, self.shards, self.shard_tokens)
        return any(value is not None for value in asked) or any(weight.most > 1 for weight in self.weights.values())

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return (TRAIN,) if self.validation is None else (TRAIN, VALIDATION)

    def weight_of(self, source: str) -> Weight:
        """How much of an input is taken."""
        return self.weights.get(source, Weight())

    def is_validation(self, key: bytes) -> bool:
        """Whether a conversation belongs to the validation split, by what it says alone."""
        return self.validation is not None and chance(key, VALIDATION, self.seed) < int(self.validation * CERTAIN)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Arrangement":
        """What :meth:`as_json` gave, or nothing; raises KeyError or TypeError if it isn't that."""
        if not plain:
            return cls()
        groups = plain["groups"]
        weights = {source: Weight.parse(text, group=groups[source]) for source, text in plain["weights"].items()}
        rest = {name: value for name, value in plain.items() if name not in ("weights", "groups")}
        return cls.of(**rest, weights=weights)

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "validation": None if self.validation is None else float(self.validation),
            "shuffle": self.shuffle,
            "shards": self.shards,
            "shard_tokens": self.shard_tokens,
            "dedup": self.dedup,
            "seed": self.seed,
            "weights": {source: str(weight) for source, weight in self.weights.items()},
            # Inputs of one glob share a limit.
            "groups": {source: weight.group for source, weight in self.weights.items()},
        }


def _check_share(share: Fraction | float) -> None:
    if not 0 < share < 1:
        raise UsageError(f"--validation can't be {float(share):g}", hint="give a share between 0 and 1, such as 0.01")
