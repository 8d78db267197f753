"""How much of each input is taken: the grammar of ``--input PATH:WEIGHT``."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ifttool.arranging.keys import CERTAIN, chance
from ifttool.errors import UsageError
from ifttool.io.inputs import expand_inputs, printable

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | int | float]
"""Paths and globs, one or several; or each with its weight."""

_WEIGHT = re.compile(r"[0-9]+(\.[0-9]+)?")
_ROWS = re.compile(r"([1-9][0-9]*)rows")
# Open Instruct's `chat.jsonl 1000` means rows. Nobody trains on a file a thousand times.
_MOST_COPIES = 100
_HINT = "write PATH:0.5 for half of its conversations, PATH:2 for each of them twice, or PATH:1000rows"


@dataclass(frozen=True, slots=True)
class Weight:
    """How much of an input is taken.

    Attributes:
        copies: How often each conversation is taken on average: 0.5 takes half of them, 2 each of them twice.
        rows: At most so many conversations, of all inputs of the same group together; None for no limit.
        group: Which pattern the input came from.
    """

    copies: Fraction = Fraction(1)
    rows: int | None = None
    group: int = 0

    @classmethod
    def parse(cls, text: str, *, group: int = 0) -> "Weight":
        """``0.5``, ``2`` or ``1000rows``.

        Raises:
            UsageError: It is none of these.
        """
        if match := _ROWS.fullmatch(text):
            return cls(rows=int(match[1]), group=group)
        if not _WEIGHT.fullmatch(text) or not Fraction(text):
            raise UsageError(f"an input can't have the weight {text!r}", hint=_HINT)
        if Fraction(text) > _MOST_COPIES:
            raise UsageError(
                f"an input can't be taken {text} times", hint=f"write {text}rows if that many conversations are meant"
            )
        return cls(copies=Fraction(text), group=group)

    @property
    def is_default(self) -> bool:
        """Whether every conversation is taken once."""
        return self.copies == 1 and self.rows is None

    @property
    def most(self) -> int:
        """The largest number of copies of one conversation."""
        return -int(-self.copies // 1)

    def copies_of(self, key: bytes, seed: int) -> int:
        """How often the conversation with this key is taken. What a weight takes, a larger one takes too."""
        whole = self.copies.numerator // self.copies.denominator
        return whole + (chance(key, "mixture", seed) < int((self.copies - whole) * CERTAIN))

    def __str__(self) -> str:
        return f"{self.rows}rows" if self.rows is not None else f"{float(self.copies):.15g}"


def expand_mixture(inputs: Inputs) -> tuple[list[str], dict[str, Weight]]:
    """The files to read, in order, and the weights of those that have one.

    Args:
        inputs: As for :func:`ifttool.mask`. A weight holds for every file of a glob, a limit for all of them together.

    Raises:
        UsageError: A weight can't be used, there is no such file, or a file comes twice.
    """
    sources: list[str] = []
    weights: dict[str, Weight] = {}
    for group, (pattern, weight) in enumerate(_pairs(inputs)):
        files = expand_inputs([pattern])
        sources += files
        if weight is not None:
            parsed = Weight.parse(weight, group=group)
            weights |= dict.fromkeys(files, parsed) if not parsed.is_default else {}
    # Once more over all of them, to find files that come twice.
    return expand_inputs(sources), weights


def split_weight(text: str) -> tuple[str, str | None]:
    """``PATH:WEIGHT`` → path and weight; a file that has such a name is taken as it is.

    Raises:
        UsageError: What follows the last colon of an existing path isn't a weight.
    """
    path, colon, weight = text.rpartition(":")
    if not colon or not path or Path(text).exists():
        return text, None
    if _WEIGHT.fullmatch(weight) or _ROWS.fullmatch(weight):
        return path, weight
    if Path(path).exists():
        raise UsageError(f"{printable(path)} can't have the weight {weight!r}", hint=_HINT)
    return text, None


def mixture_of(plain: Sequence[str], weighted: Sequence[str]) -> dict[str, str]:
    """Inputs as the command line gives them, as a mapping: paths, then ``PATH:WEIGHT``.

    Raises:
        UsageError: One comes twice, or has a weight that can't be used.
    """
    pairs = [(path, "1") for path in plain]
    for text in weighted:
        path, weight = split_weight(text)
        pairs.append((path, weight or "1"))
    seen = dict(pairs)
    if len(seen) < len(pairs):
        twice = next(path for path in seen if sum(other == path for other, _ in pairs) > 1)
        raise UsageError(f"{printable(twice)} is given twice", hint="to take it twice, write it once as PATH:2")
    return seen


def _pairs(inputs: Inputs) -> list[tuple[str, str | None]]:
    if isinstance(inputs, Mapping):
        return [(os.fspath(path), str(weight)) for path, weight in inputs.items()]
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return [(os.fspath(path), None) for path in given]
