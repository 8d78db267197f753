"""Traced dicts and lists: what the data holds beside text, looked into only as far as a template looks."""

from typing import Any

from ifttool.template.symbols import Json, Key, Leaf, Path, Piece, Structure, signature
from ifttool.template.tracing import Trace, TracedStr


def wrap(trace: Trace, value: Any, path: Path) -> Any:
    """Plain JSON data as traced data."""
    if type(value) is str:
        return TracedStr.of(trace, (Piece(Leaf(path), value),))
    if type(value) is dict:
        return TracedDict(trace, value, path)
    if type(value) is list:
        return TracedList(trace, value, path)
    return value


def subtree(trace: Trace, value: "TracedDict | TracedList", options: tuple[Any, ...], text: str) -> TracedStr:
    """A container of the data printed as a whole."""
    return TracedStr.of(trace, (Piece(Json(value.path, options), text),))


class _Container:
    """What traced dicts and lists share: their plain twin, and looking inside at most once."""

    def __init__(self, trace: Trace, plain: Any, path: Path) -> None:
        super().__init__()
        self._trace, self._path, self._plain = trace, path, plain
        self._structure: Structure | None = None
        self._noted_in: object = None

    @property
    def path(self) -> Path:
        return self._path

    @property
    def plain(self) -> Any:
        return self._plain

    def _look(self) -> None:
        if self._structure is None:
            self._structure = Structure(self._path, signature(self._plain))
            self._fill()
        # A recorder starts a new set of guards for every segment.
        if self._noted_in is not self._trace.guards:
            self._noted_in = self._trace.guards
            self._trace.guards[self._structure] = None

    def _fill(self) -> None:
        """Wrap what the plain twin holds."""
        raise NotImplementedError

    def __bool__(self) -> bool:
        self._look()
        return bool(self._plain)

    def __str__(self) -> str:
        assert isinstance(self, TracedDict | TracedList)
        return subtree(self._trace, self, ("repr",), repr(self._plain))

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class TracedDict(_Container, dict[str, Any]):
    """A dict of the data. Looking inside leaves one structure guard; passing it on as a whole leaves none."""

    def _fill(self) -> None:
        for name, value in self._plain.items():
            key = TracedStr.of(self._trace, (Piece(Key((*self._path, name), name), name),))
            super().__setitem__(key, wrap(self._trace, value, (*self._path, name)))

    def copy(self) -> dict[str, Any]:
        self._look()
        return dict(super().items())


class TracedList(_Container, list[Any]):
    """A list of the data, with the same rule as :class:`TracedDict`."""

    def _fill(self) -> None:
        super().extend(wrap(self._trace, value, (*self._path, index)) for index, value in enumerate(self._plain))

    def __radd__(self, other: list[Any]) -> list[Any]:
        return [*other, *self]


def _looking(base: type, name: str) -> Any:
    inherited = getattr(base, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        # C code reads the other side of a comparison or a sum without asking it.
        for container in (self, *args):
            if isinstance(container, _Container):
                container._look()
        return inherited(self, *args, **kwargs)

    return method


for _name in ("__getitem__", "__iter__", "__len__", "__contains__", "__eq__", "__ne__", "__reversed__", "__or__",
              "__ror__", "__repr__", "get", "keys", "values", "items"):  # fmt: skip
    setattr(TracedDict, _name, _looking(dict, _name))
for _name in ("__getitem__", "__iter__", "__len__", "__contains__", "__eq__", "__ne__", "__reversed__", "__add__",
              "__mul__", "__rmul__", "__lt__", "__le__", "__gt__", "__ge__", "__repr__", "index", "count",
              "copy"):  # fmt: skip
    setattr(TracedList, _name, _looking(list, _name))
