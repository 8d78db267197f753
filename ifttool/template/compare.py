"""Is one render a prefix of another, for every content that the guards let through? Decided on pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ifttool.template.symbols import Cut, Guard, Node, Piece, is_fixed


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer, and the guards under which it holds for any content; None if it holds for this content only."""

    answer: bool
    guards: tuple[Guard, ...] | None


def starts_with(whole: Sequence[Piece], start: Sequence[Piece]) -> Comparison:
    """Whether a render starts with another.

    Where constant text meets a string of the data (a prompt that ends in ``<think>`` and a reply that may start
    with it), what that string says becomes a guard.
    """
    left, right = _Reader(whole), _Reader(start)
    guards: list[Guard] = []
    while (wanted := right.peek()) is not None:
        found = left.peek()
        if found is None:
            return Comparison(not right.rest(), None if not right.rest() else tuple(guards))
        if found.node == wanted.node:
            left.advance()
            right.advance()
        elif found.is_constant and wanted.is_constant:
            size = min(len(wanted.text), len(found.text))
            if wanted.text[:size] != found.text[:size]:
                return Comparison(False, tuple(guards))
            left.advance(size)
            right.advance(size)
        elif not found.text or not wanted.text:
            # An empty string stands where the other render goes on: it must be empty.
            reader, empty = (left, found) if not found.text else (right, wanted)
            guards.append(Guard("truth", (empty.node,), (), False))
            reader.advance()
        elif wanted.is_constant and found.text == wanted.text:
            # Just that: of a longer string, what follows would belong to the turn.
            guards.append(Guard("eq", (found.node,), (wanted.text,), True))
            left.advance()
            right.advance()
        elif wanted.is_constant and found.text.startswith(wanted.text):
            guards.append(Guard("startswith", (found.node,), (wanted.text,), True))
            left.advance(len(wanted.text))
            right.advance()
        elif wanted.is_constant != found.is_constant and _diverge(wanted.text, found.text):
            data, constant = (found, wanted) if wanted.is_constant else (wanted, found)
            guards.append(Guard("diverges", (data.node,), (constant.text,), True))
            return Comparison(False, tuple(guards))
        else:
            rest = wanted.text + right.rest(skip=1)
            return Comparison((found.text + left.rest(skip=1)).startswith(rest), None)
    return Comparison(True, tuple(guards))


def _diverge(left: str, right: str) -> bool:
    return not (left.startswith(right) or right.startswith(left))


def cut_at(pieces: Sequence[Piece], length: int) -> tuple[Piece, ...]:
    """The pieces of the first ``length`` characters; only constant text is ever cut."""
    out: list[Piece] = []
    left = length
    for piece in pieces:
        if left <= 0 and piece.text:
            break
        text = piece.text[:left]
        out.append(piece if len(text) == len(piece.text) else Piece(text, text, piece.block))
        left -= len(text)
    return tuple(out)


class _Stretch(NamedTuple):
    """A stretch of text still to be compared; constant text has itself as node."""

    node: Node
    text: str

    @property
    def is_constant(self) -> bool:
        return isinstance(self.node, str)


class _Reader:
    """Walks stretches with neighbouring constant text joined; nodes of fixed text count as constants."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._stretches = list(_joined(pieces))
        self._index = 0

    def peek(self) -> _Stretch | None:
        return self._stretches[self._index] if self._index < len(self._stretches) else None

    def advance(self, size: int | None = None) -> None:
        """Go on behind ``size`` characters of the current stretch, or behind all of it."""
        node, text = self._stretches[self._index]
        if size is None or (isinstance(node, str) and size >= len(text)):
            self._index += 1
        elif isinstance(node, str):
            self._stretches[self._index] = _Stretch(text[size:], text[size:])
        else:
            self._stretches[self._index] = _Stretch(Cut(("slice", size, None), (node,), 0), text[size:])

    def rest(self, *, skip: int = 0) -> str:
        return "".join(text for _, text in self._stretches[self._index + skip :])


def _joined(pieces: Sequence[Piece]) -> Iterator[_Stretch]:
    constant = ""
    for node, text, _ in pieces:
        if is_fixed(node):
            constant += text
            continue
        if constant:
            yield _Stretch(constant, constant)
            constant = ""
        yield _Stretch(node, text)
    if constant:
        yield _Stretch(constant, constant)
