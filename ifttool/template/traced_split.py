"""The list that splitting a traced string gives."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifttool.template.tracing import TracedStr


class SplitResult(list[str]):
    """The list ``split`` gives. The first and last part are known without knowing how many there are."""

    def __init__(self, text: "TracedStr", kind: str, separator: str, limit: int) -> None:
        self._text = text
        self._spec = (kind, separator, limit)
        self._size = len(getattr(str, kind)(str.__str__(text), separator, limit))
        super().__init__(text.cut((*self._spec, index)) for index in range(self._size))

    def _ask_size(self) -> None:
        _, separator, limit = self._spec
        self._text.trace.ask("pieces", self._text, separator, limit)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int) and key in (0, -1):
            return self._text.cut((*self._spec, key))
        self._ask_size()
        return super().__getitem__(key)

    def __reversed__(self) -> Iterator[str]:
        yield self[-1]
        self._ask_size()
        yield from [*self][-2::-1]

    def __radd__(self, other: list[Any]) -> list[Any]:
        return [*other, *self]


def _sized(name: str) -> Any:
    inherited = getattr(list, name)

    def method(self: SplitResult, *args: Any) -> Any:
        self._ask_size()
        return inherited(self, *args)

    return method


for _name in ("__len__", "__iter__", "__contains__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__",
              "__add__", "__mul__", "__rmul__", "__repr__", "index", "count", "copy"):  # fmt: skip
    setattr(SplitResult, _name, _sized(_name))
