"""Traced whole numbers: they behave like ``int`` and leave every comparison behind as a guard."""

import operator
from collections.abc import Callable
from typing import Any

from ifttool.template.traced_length import TracedLength
from ifttool.template.tracing import Trace
from ifttool.template.trajectory.affine import Affine, IntGuard, Quotient, constant, variable


class TracedInt:
    """A number that a template computed from positions.

    It isn't an ``int``, because C code reads the value of an ``int`` without asking.
    """

    __slots__ = ("_trace", "_value", "form")

    def __init__(self, trace: Trace, value: int, form: Affine) -> None:
        self._trace, self._value, self.form = trace, value, form

    def __index__(self) -> int:
        """The number itself: from here on the trace holds for this number only."""
        self.ask("==", constant(self._value), self._value)
        return self._value

    __int__ = __index__

    def ask(self, test: str, other: Affine, number: int) -> bool:
        """Compare with another number; the answer becomes a guard."""
        difference = self._value - number
        answer = {"==": difference == 0, "<": difference < 0, "<=": difference <= 0}[test]
        form = self.form.plus(other, -1)
        guard = IntGuard(form, test, answer)
        if form.terms and not guard.is_certain:
            self._trace.guards[guard] = None
        return answer

    def _compare(self, test: str, other: object) -> Any:
        if isinstance(other, TracedInt):
            return self.ask(test, other.form, other._value)
        if isinstance(other, int | TracedLength):
            return self.ask(test, constant(int(other)), int(other))
        if isinstance(other, float):
            return {"==": operator.eq, "<": operator.lt, "<=": operator.le}[test](int(self), other)
        return NotImplemented

    def __bool__(self) -> bool:
        return not self._compare("==", 0)

    def __hash__(self) -> int:
        return hash(int(self))

    def __eq__(self, other: object) -> Any:
        return self._compare("==", other)

    def __lt__(self, other: object) -> Any:
        return self._compare("<", other)

    def __le__(self, other: object) -> Any:
        return self._compare("<=", other)

    def __gt__(self, other: object) -> Any:
        below = self._compare("<=", other)
        return below if below is NotImplemented else not below

    def __ge__(self, other: object) -> Any:
        below = self._compare("<", other)
        return below if below is NotImplemented else not below

    def _made(self, value: int, form: Affine) -> "TracedInt":
        return TracedInt(self._trace, value, form)

    def __add__(self, other: object) -> Any:
        if isinstance(other, TracedInt):
            return self._made(self._value + other._value, self.form.plus(other.form))
        if isinstance(other, int):
            return self._made(self._value + other, self.form.plus(constant(other)))
        return NotImplemented if not isinstance(other, float) else int(self) + other

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        if isinstance(other, TracedInt):
            return self._made(self._value - other._value, self.form.plus(other.form, -1))
        if isinstance(other, int):
            return self._made(self._value - other, self.form.plus(constant(other), -1))
        return NotImplemented if not isinstance(other, float) else int(self) - other

    def __rsub__(self, other: object) -> Any:
        return (-self) + other

    def __neg__(self) -> "TracedInt":
        return self._made(-self._value, self.form.times(-1))

    def __mul__(self, other: object) -> Any:
        if isinstance(other, int):
            return self._made(self._value * other, self.form.times(other))
        return int(self) * other if isinstance(other, float) else NotImplemented

    __rmul__ = __mul__

    def _divided(self, sign: str, other: object) -> Any:
        if isinstance(other, int) and other > 0:
            value = self._value % other if sign == "%" else self._value // other
            return self._made(value, variable(Quotient(sign, self.form, int(other))))
        return NotImplemented

    def __mod__(self, other: object) -> Any:
        return self._divided("%", other)

    def __floordiv__(self, other: object) -> Any:
        return self._divided("//", other)


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedInt, *args: Any) -> Any:
        return function(int(self), *args)

    return method


_EXACT: dict[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "float": float, "str": str, "repr": repr, "format": format, "pos": operator.pos,
    "truediv": operator.truediv, "pow": pow,
}  # fmt: skip
for _name, _function in _EXACT.items():
    setattr(TracedInt, f"__{_name}__", _exact(_function))


class TracedFlag:
    """``add_generation_prompt``: asking it leaves a guard, so that renders with and without share what doesn't ask."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask

    def __bool__(self) -> bool:
        return self._ask()

    def __eq__(self, other: object) -> bool:
        return self._ask() == other

    def __hash__(self) -> int:
        return hash(self._ask())
