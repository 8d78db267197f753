"""Lengths of traced text."""

import operator
from collections.abc import Callable
from typing import Any

from ifttool.template.tracing import TracedStr


class TracedLength:
    """A length of traced text: comparing it leaves the comparison as a guard, anything else the exact length.

    It isn't an ``int``, because C code reads the value of an ``int`` without asking.
    """

    def __init__(self, text: TracedStr) -> None:
        self._text = text

    def __index__(self) -> int:
        return len(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __hash__(self) -> int:
        return hash(int(self))

    def _compare(self, test: str, other: object) -> Any:
        number = _plain(other)
        if not isinstance(number, int | float):
            return NotImplemented
        return bool(self._text.trace.ask(test, self._text, number))

    def __eq__(self, other: object) -> Any:
        return self._compare("length_eq", other)

    def __lt__(self, other: object) -> Any:
        return self._compare("length_lt", other)

    def __le__(self, other: object) -> Any:
        return self._compare("length_le", other)

    def __gt__(self, other: object) -> Any:
        below = self._compare("length_le", other)
        return below if below is NotImplemented else not below

    def __ge__(self, other: object) -> Any:
        below = self._compare("length_lt", other)
        return below if below is NotImplemented else not below


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, TracedLength) else value


def _exact(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: TracedLength, *args: Any) -> Any:
        operands = [int(self), *(_plain(arg) for arg in args)]
        return function(*(reversed(operands) if reflected else operands))

    return method


for _name in ("add", "sub", "mul", "mod", "floordiv", "truediv", "pow"):
    setattr(TracedLength, f"__{_name}__", _exact(getattr(operator, _name)))
    setattr(TracedLength, f"__r{_name}__", _exact(getattr(operator, _name), reflected=True))
_EXACT: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": abs,
    "round": round,
    "float": float,
    "str": str,
    "repr": repr,
    "format": format,
}
for _name, _function in _EXACT.items():
    setattr(TracedLength, f"__{_name}__", _exact(_function))
