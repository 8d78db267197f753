"""Expressions over a conversation's strings: what a traced render is made of.

A *node* says how one stretch of rendered text came to be. Nodes are plain hashable values, so that two renders can
be compared without looking at contents:

- ``"text"``: a constant of the template (any plain ``str``).
- ``Leaf(path)``: a string of the conversation, unchanged.
- ``Key(path, text)``: a dict key of the conversation; its text is fixed by a structure guard.
- ``Fixed(path, text)``: text derived from the data at ``path`` by an operation that isn't followed; a guard fixes
  every input of that operation, so the text is constant where the guard holds.
- ``Json(path, options)``: the JSON text of a whole subtree.
- ``Map(function, args, node)``: one string made of another, character order kept.
- ``Cut(select, parts, part)``: the share of part number ``part`` in a substring of the joined parts.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Keys from the root of the data: ``("messages", 2, "content")``, ``("tools", 0, "function", "name")``."""


class Leaf(NamedTuple):
    path: Path


class Key(NamedTuple):
    path: Path
    text: str


class Fixed(NamedTuple):
    path: Path
    text: str


class Json(NamedTuple):
    path: Path
    options: tuple[Any, ...]


class Map(NamedTuple):
    function: str
    args: tuple[Any, ...]
    node: "Node"


class Cut(NamedTuple):
    select: tuple[Any, ...]
    parts: tuple["Node", ...]
    part: int


Node = str | Leaf | Key | Fixed | Json | Map | Cut


class Piece(NamedTuple):
    """One stretch of rendered text: how it was made, what it says here, and its generation block (-1: none)."""

    node: Node
    text: str
    block: int = -1


def owner(node: Node) -> Path | None:
    """The place in the data a node's text comes from; None for template text."""
    while True:
        if isinstance(node, str):
            return None
        if isinstance(node, Map):
            node = node.node
        elif isinstance(node, Cut):
            node = node.parts[node.part]
        else:
            return node.path


def is_fixed(node: Node) -> bool:
    """Whether the text of a node can't vary under the plan's shape: constants, keys, roles, template kwargs."""
    if isinstance(node, str | Key | Fixed):
        return True
    if isinstance(node, Leaf):
        path = node.path
        return path[0] == "kwargs" or (path[0] == "messages" and path[2:] == ("role",))
    if isinstance(node, Map):
        return is_fixed(node.node)
    return isinstance(node, Cut) and all(is_fixed(part) for part in node.parts)


def merged_pieces(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Pieces with neighbouring template text joined and empty template text left out."""
    out: list[Piece] = []
    for piece in pieces:
        if isinstance(piece.node, str):
            if not piece.text:
                continue
            if out and isinstance(out[-1].node, str) and out[-1].block == piece.block:
                text = out[-1].text + piece.text
                out[-1] = Piece(text, text, piece.block)
                continue
        out.append(piece)
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Guard:
    """A test the template made on data, with the answer it got. A plan holds where every answer is the same.

    Attributes:
        test: A key of :data:`TESTS`.
        parts: The tested string, as nodes to be joined.
        args: Plain arguments of the test; a ``tuple`` of nodes stands for another traced string.
        answer: What the test gave.
    """

    test: str
    parts: tuple[Node, ...]
    args: tuple[Any, ...]
    answer: Any


@dataclass(frozen=True, slots=True)
class Structure:
    """A container the template looked into: its keys or length, and the types (or scalar values) inside."""

    path: Path
    signature: tuple[Any, ...]


Bounds = tuple[int, int]


def _strip_bounds(text: str, kind: str, chars: str | None) -> Bounds:
    start = 0 if kind == "rstrip" else len(text) - len(text.lstrip(chars))
    stop = len(text) if kind == "lstrip" else len(text.rstrip(chars))
    return (start, max(start, stop))


def _nth_bounds(text: str, pieces: list[str], index: int, gap: int) -> Bounds:
    """Bounds of ``pieces[index]`` where the pieces stand ``gap`` characters apart and end with the text."""
    if index < 0:
        later = pieces[len(pieces) + index + 1 :]
        stop = len(text) - sum(len(piece) + gap for piece in later)
        return (stop - len(pieces[index]), stop)
    start = sum(len(piece) + gap for piece in pieces[:index])
    return (start, start + len(pieces[index]))


def select_bounds(text: str, select: tuple[Any, ...]) -> Bounds:
    """Which part of ``text`` a selector picks, as character offsets.

    Raises:
        IndexError: The selector counts pieces that this text doesn't have.
    """
    kind = select[0]
    if kind in ("strip", "lstrip", "rstrip"):
        return _strip_bounds(text, kind, select[1])
    if kind == "slice":
        start, stop, _ = slice(select[1], select[2]).indices(len(text))
        return (start, max(start, stop))
    if kind == "at":
        index = range(len(text))[select[1]]
        return (index, index + 1)
    if kind == "split":
        _, separator, limit, index = select
        return _nth_bounds(text, text.split(separator, limit), index, len(separator))
    if kind == "rsplit":
        _, separator, limit, index = select
        return _nth_bounds(text, text.rsplit(separator, limit), index, len(separator))
    if kind in ("partition", "rpartition"):
        _, separator, index = select
        cut = text.partition(separator) if kind == "partition" else text.rpartition(separator)
        return _nth_bounds(text, list(cut), index, 0)
    if kind == "removeprefix":
        return (len(select[1]) if text.startswith(select[1]) else 0, len(text))
    if kind == "removesuffix":
        return (0, len(text) - (len(select[1]) if text.endswith(select[1]) else 0))
    raise ValueError(f"unknown selector {kind!r}")


def share(lengths: list[int], index: int, bounds: Bounds) -> Bounds:
    """What of part ``index`` lies inside ``bounds`` of the joined parts, as offsets into that part."""
    start = sum(lengths[:index])
    low = min(max(bounds[0] - start, 0), lengths[index])
    high = min(max(bounds[1] - start, low), lengths[index])
    return (low, high)


TESTS: Mapping[str, Callable[..., Any]] = {
    "truth": bool,
    "eq": lambda text, other: text == other,
    "lt": lambda text, other: text < other,
    "le": lambda text, other: text <= other,
    "contains": lambda text, other: other in text,
    "within": lambda text, other: text in other,
    "startswith": lambda text, *args: text.startswith(*args),
    "endswith": lambda text, *args: text.endswith(*args),
    "diverges": lambda text, other: not (text.startswith(other) or other.startswith(text)),
    "count": lambda text, *args: text.count(*args),
    "find": lambda text, *args: text.find(*args),
    "rfind": lambda text, *args: text.rfind(*args),
    "pieces": lambda text, separator, limit: len(text.split(separator, limit)),
    "length": len,
    "length_eq": lambda text, size: len(text) == size,
    "length_lt": lambda text, size: len(text) < size,
    "length_le": lambda text, size: len(text) <= size,
    "is": lambda text, name: getattr(text, name)(),
}
"""Tests by name: each takes the joined text and the guard's arguments."""

# What markupsafe writes, which is what Jinja's `escape` calls.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"})

MAPS: Mapping[str, Callable[..., str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "capitalize": str.capitalize,
    "title": str.title,
    "casefold": str.casefold,
    "swapcase": str.swapcase,
    "replace": str.replace,
    "escape": lambda text: text.translate(_ESCAPES),
    "json": lambda text, ascii_only: json.dumps(str.__str__(text), ensure_ascii=ascii_only),
}
"""String-to-string functions by name, applied as ``function(text, *args)``."""


def signature(value: Any) -> tuple[Any, ...]:
    """The structure of one container: kinds of what it holds, and the values of what isn't text or container."""
    if isinstance(value, dict):
        return ("dict", *((str.__str__(key), tag(item)) for key, item in dict.items(value)))
    return ("list", *(tag(item) for item in list.__iter__(value)))


def tag(value: Any) -> Any:
    """The kind of a value: ``"str"``, ``"dict"``, ``"list"``, or its type and value for numbers and constants."""
    if isinstance(value, str):
        return "str"
    if isinstance(value, dict):
        return "dict"
    if isinstance(value, list):
        return "list"
    return (type(value).__name__, repr(value) if isinstance(value, float) else value)  # 0.0 == -0.0
