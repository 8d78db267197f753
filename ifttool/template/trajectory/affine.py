"""Whole numbers a template computes from positions: ``loop.index0 - 1``, ``messages | length``, a namespace counter.

Such a number is kept as a sum of variables, so that a comparison holds for every message it is asked of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

ITEM = "i"
"""Index, in the conversation, of the message that a loop is at."""
COUNT = "n"
"""Number of messages in the conversation."""


class Quotient(NamedTuple):
    """``form % divisor`` or ``form // divisor`` as a variable of its own."""

    operator: str
    form: "Affine"
    divisor: int


class Affine(NamedTuple):
    """``sum(factor * variable) + constant``; a variable is ``i``, ``n``, a namespace key or a quotient."""

    terms: tuple[tuple[Any, int], ...]
    constant: int

    def plus(self, other: "Affine", factor: int = 1) -> "Affine":
        """The sum of this form and ``factor`` times another."""
        terms = dict(self.terms)
        for variable, count in other.terms:
            terms[variable] = terms.get(variable, 0) + factor * count
        kept = sorted(((name, count) for name, count in terms.items() if count), key=lambda term: str(term[0]))
        return Affine(tuple(kept), self.constant + factor * other.constant)

    def times(self, factor: int) -> "Affine":
        """The form multiplied by a number."""
        return Affine((), 0).plus(self, factor)

    def mentions(self, variable: str) -> bool:
        """Whether a variable occurs in it, also inside a quotient."""
        return any(
            name == variable or (isinstance(name, Quotient) and name.form.mentions(variable)) for name, _ in self.terms
        )

    def names(self) -> Iterable[str]:
        """Namespace keys in it."""
        for name, _ in self.terms:
            if isinstance(name, Quotient):
                yield from name.form.names()
            elif name not in (ITEM, COUNT):
                yield name

    def source(self) -> str:
        """The form as a Python expression over ``i``, ``n`` and ``state``."""
        parts = [str(self.constant)]
        for name, count in self.terms:
            if isinstance(name, Quotient):
                variable = f"(({name.form.source()}) {name.operator} {name.divisor})"
            else:
                variable = name if name in (ITEM, COUNT) else f"state[{name!r}]"
            parts.append(f"{count} * {variable}" if count != 1 else variable)
        return " + ".join(parts[1:] + parts[:1] if self.constant else parts[1:]) or "0"

    def value(self, *, item: int, count: int, state: Mapping[str, Any]) -> int:
        """The number it stands for."""
        total = self.constant
        for name, factor in self.terms:
            if isinstance(name, Quotient):
                inner = name.form.value(item=item, count=count, state=state)
                part = inner % name.divisor if name.operator == "%" else inner // name.divisor
            else:
                part = item if name == ITEM else count if name == COUNT else state[name]
            total += factor * part
        return total


def constant(number: int) -> Affine:
    """A plain number."""
    return Affine((), number)


def variable(name: Any) -> Affine:
    """One variable."""
    return Affine(((name, 1),), 0)


@dataclass(frozen=True, slots=True)
class IntGuard:
    """A comparison of a number with zero, and its answer."""

    form: Affine
    operator: str
    answer: bool

    @property
    def is_certain(self) -> bool:
        """Whether the answer is the same for every item of every conversation."""
        return self._is_settled(from_the_end=1)

    @property
    def is_open(self) -> bool:
        """Whether the answer may change with the number of messages, for an item that isn't the last one.

        ``loop.last`` and its like compare the distance to the end; from the last item but one on they don't change.
        """
        return self.form.mentions(COUNT) and not self._is_settled(from_the_end=2)

    def _is_settled(self, *, from_the_end: int) -> bool:
        """Whether the answer holds for every item that is at least so far from the end (the last one: 1)."""
        terms = dict(self.form.terms)
        if set(terms) == {ITEM}:
            return self._holds_from(0, terms[ITEM])
        if set(terms) == {COUNT}:
            return self._holds_from(1, terms[COUNT])
        if set(terms) == {ITEM, COUNT} and terms[ITEM] == -terms[COUNT]:
            return self._holds_from(from_the_end, terms[COUNT])
        return False

    def _holds_from(self, low: int, slope: int) -> bool:
        """Whether the answer is right for every number from ``low`` on, put in for a variable with this factor."""
        offset = self.form.constant
        if self.operator == "==":
            root, rest = divmod(-offset, slope)
            return not self.answer and (rest != 0 or root < low)
        at_low, beyond = slope * low + offset, slope * (abs(offset) + low + 2)
        return all((number < 0 if self.operator == "<" else number <= 0) == self.answer for number in (at_low, beyond))


@dataclass(frozen=True, slots=True)
class KindGuard:
    """What kind a message is (role, fields and their types): its index, and the number of the kind."""

    index: Affine
    kind: int


@dataclass(frozen=True, slots=True)
class StateGuard:
    """The value of a namespace key at the start of a segment."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class NumberGuard:
    """That a namespace key holds a number at the start of a segment that reckons with it."""

    key: str


@dataclass(frozen=True, slots=True)
class FlagGuard:
    """Whether the generation prompt is asked for."""

    answer: bool
