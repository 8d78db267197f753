"""Traced strings and containers: they behave like ``str``, ``dict`` and ``list`` and remember how they were made.

A template is run once on traced data. Every operation that yields text yields traced text; every operation that
yields an answer (a test, a length, a position) is written down as a guard with the answer it gave. An operation that
isn't followed *fixes* its inputs: a guard pins their exact value, so what comes out is constant wherever the guard
holds. Nothing is guessed.
"""

from collections.abc import Iterable, Iterator
from operator import index as index_of
from typing import Any, Self, SupportsIndex, TypeGuard, cast

from ifttool.template.symbols import (
    MAPS,
    TESTS,
    Cut,
    Fixed,
    Guard,
    Map,
    Node,
    Path,
    Piece,
    is_fixed,
    merged_pieces,
    owner,
    select_bounds,
    share,
)
from ifttool.template.traced_split import SplitResult

# A replacement that brings in text like this may write markup of its own, so each match is followed by itself.
_MARKUP = frozenset("<>[]|")
_CHARACTERWISE = frozenset({"upper", "escape"})


class Trace:
    """What one render did: the guards it passed. One is made for every traced render.

    Beside :class:`Guard` and :class:`Structure`, a recorder of segments puts guards of its own among them.
    """

    def __init__(self) -> None:
        self.guards: dict[Any, None] = {}

    def constant(self, text: str) -> "TracedStr":
        """Template text as a traced string."""
        return TracedStr.of(self, (Piece(text, text),))

    def ask(self, test: str, text: "TracedStr", *args: Any) -> Any:
        """Answer a test on traced text, and write the answer down unless nothing in it can vary."""
        answer = TESTS[test](str.__str__(text), *(_plain(arg) for arg in args))
        frozen = tuple(arg.nodes if _varies(arg) else _plain(arg) for arg in args)
        if not text.is_fixed or any(map(_varies, args)):
            self.guards[Guard(test, text.nodes, frozen, answer)] = None
        return answer

    def fix(self, text: "TracedStr") -> str:
        """Pin the exact value of traced text; returns it as a plain string."""
        plain = str.__str__(text)
        if not text.is_fixed:
            self.guards[Guard("eq", text.nodes, (plain,), True)] = None
        return plain

    def derive(self, result: str, *inputs: object) -> "TracedStr":
        """Text made of ``inputs`` by an operation that isn't followed: inputs are pinned, the owner is kept."""
        origin: Path | None = None
        for text in traced_strings(inputs):
            self.fix(text)
            origin = origin or text.origin
        node: Node = result if origin is None else Fixed(origin, result)
        return TracedStr.of(self, (Piece(node, result),))


def _plain(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else value


def _varies(value: object) -> TypeGuard["TracedStr"]:
    return isinstance(value, TracedStr) and not value.is_fixed


def traced_strings(value: object) -> Iterator["TracedStr"]:
    """Every traced string inside a value, containers searched to the bottom."""
    if isinstance(value, TracedStr):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from traced_strings(key)
            yield from traced_strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from traced_strings(item)


class TracedStr(str):
    """A string that knows the pieces it is made of."""

    __slots__ = ("_pieces", "_trace")

    _pieces: tuple[Piece, ...]
    _trace: Trace

    @classmethod
    def of(cls, trace: Trace, pieces: tuple[Piece, ...]) -> Self:
        self = cls(pieces[0].text if len(pieces) == 1 else "".join([piece.text for piece in pieces]))
        self._pieces = pieces
        self._trace = trace
        return self

    @property
    def trace(self) -> Trace:
        return self._trace

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return self._pieces

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(piece.node for piece in self._pieces)

    @property
    def is_fixed(self) -> bool:
        return all(is_fixed(piece.node) for piece in self._pieces)

    @property
    def origin(self) -> Path | None:
        """The first place in the data that this text comes from."""
        return next((path for piece in self._pieces if (path := owner(piece.node))), None)

    # -- text from text ------------------------------------------------------------------------------------------

    def __add__(self, other: object) -> Any:
        if not isinstance(other, str):
            return NotImplemented
        return TracedStr.of(self._trace, merged_pieces(self._pieces + self.pieces_of(other)))

    def __radd__(self, other: object) -> Any:
        if not isinstance(other, str):
            return NotImplemented
        return TracedStr.of(self._trace, merged_pieces(self.pieces_of(other) + self._pieces))

    def __mul__(self, times: SupportsIndex) -> "TracedStr":
        return TracedStr.of(self._trace, merged_pieces(self._pieces * max(0, int(times))))

    __rmul__ = __mul__

    def __mod__(self, args: Any) -> "TracedStr":
        return self._trace.derive(str.__str__(self) % args, self, args)

    def __rmod__(self, template: str) -> "TracedStr":
        return self._trace.derive(template % (str.__str__(self),), self)

    def __str__(self) -> str:
        return self

    def __repr__(self) -> str:
        # Containers print their items this way, in C, so what is returned must be plain.
        return repr(self._trace.fix(self))

    def __format__(self, spec: str) -> str:
        return format(self._trace.fix(self), spec)

    def pieces_of(self, text: str) -> tuple[Piece, ...]:
        if isinstance(text, TracedStr):
            return text._pieces
        return (Piece(text, text),) if text else ()

    def cut(self, select: tuple[Any, ...]) -> "TracedStr":
        """The substring a selector picks. Several parts give several pieces, each still knowing its own part."""
        bounds = select_bounds(str.__str__(self), select)
        lengths = [len(piece.text) for piece in self._pieces]
        nodes = self.nodes
        fixed = all(isinstance(node, str) for node in nodes)
        pieces = []
        for index, piece in enumerate(self._pieces):
            low, high = share(lengths, index, bounds)
            text = piece.text[low:high]
            pieces.append(Piece(text if fixed else Cut(select, nodes, index), text, piece.block))
        return type(self).of(self._trace, merged_pieces(pieces))

    def strip(self, chars: str | None = None) -> "TracedStr":
        return self.cut(("strip", self._argument(chars)))

    def lstrip(self, chars: str | None = None) -> "TracedStr":
        return self.cut(("lstrip", self._argument(chars)))

    def rstrip(self, chars: str | None = None) -> "TracedStr":
        return self.cut(("rstrip", self._argument(chars)))

    def removeprefix(self, prefix: str, /) -> "TracedStr":
        return self.cut(("removeprefix", self._argument(prefix)))

    def removesuffix(self, suffix: str, /) -> "TracedStr":
        return self.cut(("removesuffix", self._argument(suffix)))

    def __getitem__(self, key: SupportsIndex | slice) -> "TracedStr":
        if isinstance(key, slice):
            if key.step not in (None, 1):
                return self._trace.derive(str.__getitem__(self, key), self)
            return self.cut(("slice", *(None if end is None else index_of(end) for end in (key.start, key.stop))))
        position = index_of(key)  # a TypeError for `text["key"]`, which Jinja turns into undefined
        needed = position + 1 if position >= 0 else -position
        if self._trace.ask("length_lt", self, needed):
            raise IndexError("string index out of range")
        return self.cut(("at", position))

    def __iter__(self) -> Iterator[str]:
        self._trace.fix(self)
        return iter([self.cut(("at", index)) for index in range(str.__len__(self))])

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> Any:
        return self._split("split", sep, int(maxsplit))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> Any:
        return self._split("rsplit", sep, int(maxsplit))

    def _split(self, kind: str, sep: str | None, limit: int) -> Any:
        separator = self._argument(sep)
        if separator is None:
            plain = getattr(str, kind)(self._trace.fix(self), None, limit)
            return [self._trace.derive(str(part), self) for part in plain]
        return SplitResult(self, kind, separator, limit)

    def splitlines(self, keepends: bool = False) -> list[str]:
        parts = self._trace.fix(self).splitlines(keepends)
        return [self._trace.derive(part, self) for part in parts]

    def partition(self, sep: str) -> Any:
        return tuple(self.cut(("partition", self._argument(sep), index)) for index in range(3))

    def rpartition(self, sep: str) -> Any:
        return tuple(self.cut(("rpartition", self._argument(sep), index)) for index in range(3))

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> "TracedStr":
        before = cast(str, self._argument(old))
        limit = int(count)
        simple = len(self._pieces) == 1 and not isinstance(new, TracedStr)
        if simple and not _MARKUP & set(new):
            return self.mapped("replace", before, new, limit)
        if not before:
            return self._trace.derive(str.replace(self, before, _plain(new), limit), self, new)
        if not self._trace.ask("contains", self, before):
            return self
        parts = self._split("split", before, limit)
        return join(self._trace, new, list(parts))

    def mapped(self, function: str, *args: Any) -> "TracedStr":
        """Apply a string-to-string function to every piece, if that is the same as applying it to the whole."""
        apply = MAPS[function]
        pieces = [
            Piece(
                text if isinstance(piece.node, str) else Map(function, args, piece.node),
                text,
                piece.block,
            )
            for piece in self._pieces
            for text in (apply(piece.text, *args),)
        ]
        whole = apply(str.__str__(self), *args)
        # The others depend on what stands before a character.
        if len(pieces) == 1 or function in _CHARACTERWISE:
            return type(self).of(self._trace, merged_pieces(pieces))
        return type(self).of(self._trace, self._trace.derive(whole, self).pieces)

    def upper(self) -> "TracedStr":
        return self.mapped("upper")

    def lower(self) -> "TracedStr":
        return self.mapped("lower")

    def capitalize(self) -> "TracedStr":
        return self.mapped("capitalize")

    def title(self) -> "TracedStr":
        return self.mapped("title")

    def casefold(self) -> "TracedStr":
        return self.mapped("casefold")

    def swapcase(self) -> "TracedStr":
        return self.mapped("swapcase")

    def join(self, items: Iterable[str], /) -> "TracedStr":
        return join(self._trace, self, list(items))

    def _argument(self, value: str | None) -> str | None:
        """A plain argument of a followed operation; traced ones are pinned."""
        return self._trace.fix(value) if isinstance(value, TracedStr) else value

    # -- answers -------------------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._trace.ask("truth", self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(self._trace.ask("eq", self, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._trace.fix(self))

    def __lt__(self, other: str) -> bool:
        return bool(self._trace.ask("lt", self, other))

    def __le__(self, other: str) -> bool:
        return bool(self._trace.ask("le", self, other))

    def __gt__(self, other: str) -> bool:
        return not self <= other

    def __ge__(self, other: str) -> bool:
        return not self < other

    def __contains__(self, other: object) -> bool:
        if not isinstance(other, str):
            raise TypeError(f"'in <string>' requires string as left operand, not {type(other).__name__}")
        return bool(self._trace.ask("contains", self, other))

    def __len__(self) -> int:
        return int(self._trace.ask("length", self))

    def startswith(self, *args: Any) -> bool:
        return bool(self._trace.ask("startswith", self, *(_fixed_argument(self._trace, a) for a in args)))

    def endswith(self, *args: Any) -> bool:
        return bool(self._trace.ask("endswith", self, *(_fixed_argument(self._trace, a) for a in args)))

    def count(self, *args: Any) -> int:
        return int(self._trace.ask("count", self, *(_fixed_argument(self._trace, a) for a in args)))

    def find(self, *args: Any) -> int:
        return int(self._trace.ask("find", self, *(_fixed_argument(self._trace, a) for a in args)))

    def rfind(self, *args: Any) -> int:
        return int(self._trace.ask("rfind", self, *(_fixed_argument(self._trace, a) for a in args)))

    def index(self, *args: Any) -> int:
        if (position := self.find(*args)) < 0:
            raise ValueError("substring not found")
        return position


def _fixed_argument(trace: Trace, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_fixed_argument(trace, item) for item in value)
    if isinstance(value, TracedStr):
        return trace.fix(value)
    # A traced length becomes the exact one.
    return index_of(value) if isinstance(value, SupportsIndex) else value


def _predicate(name: str) -> Any:
    def method(self: TracedStr) -> bool:
        return bool(self._trace.ask("is", self, name))

    return method


def _unfollowed(name: str) -> Any:
    def method(self: TracedStr, *args: Any, **kwargs: Any) -> Any:
        arguments = [_fixed_argument(self._trace, arg) for arg in args]
        result = getattr(str, name)(self._trace.fix(self), *arguments, **kwargs)
        return self._trace.derive(result, self, args) if isinstance(result, str) else result

    method.__name__ = name  # the sandbox knows `format` by its name
    return method


for _name in (name for name in vars(str) if name.startswith("is")):
    setattr(TracedStr, _name, _predicate(_name))
for _name in ("center", "ljust", "rjust", "zfill", "expandtabs", "translate", "encode", "format", "format_map"):
    setattr(TracedStr, _name, _unfollowed(_name))
TracedStr.rindex = _unfollowed("rindex")  # type: ignore[method-assign]


def join(trace: Trace, separator: str, items: Iterable[Any]) -> TracedStr:
    """``separator.join(items)``, traced."""
    between = separator._pieces if isinstance(separator, TracedStr) else (Piece(separator, separator),)
    pieces: list[Piece] = []
    for index, item in enumerate(items):
        if index:
            pieces.extend(between)
        if isinstance(item, TracedStr):
            pieces.extend(item._pieces)
        else:
            text = str(item)
            pieces.append(Piece(text, text))
    return TracedStr.of(trace, merged_pieces(pieces)) if pieces else trace.constant("")
