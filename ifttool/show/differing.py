"""Two explanations of one sample → which tokens change sides, and why."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, chain, groupby
from typing import Any, Literal, NamedTuple

from ifttool.show.explanation import Explanation, Item, Refusal, Stretch

CONTEXT_LINES = 2
"""How many equal lines are shown on both sides of a change of the text."""

Kind = Literal["same", "sides", "tokens", "text", "one-sided"]


@dataclass(frozen=True, slots=True)
class Move:
    """Some tokens that are trained on one side only.

    Attributes:
        start: First character, in the first text.
        stop: One past the last character.
        tokens: How many tokens start in it (of the first side).
        text: What they say.
        now_trained: True if they are masked in the first setting and trained in the second.
        before: Why, in the first setting.
        after: Why, in the second.
    """

    start: int
    stop: int
    tokens: int
    text: str
    now_trained: bool
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of the texts' comparison.

    Attributes:
        sign: ``-`` for the first text only, ``+`` for the second only, a blank for both, ``@`` for lines left out.
        stretches: The line with its line end; empty for lines left out.
        reasons: Why its characters are trained or not, each reason once.
        hidden: How many lines are left out here.
    """

    sign: str
    stretches: tuple[Stretch, ...] = ()
    reasons: tuple[str, ...] = ()
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One sample under two settings.

    Attributes:
        before: The first setting's sample or refusal; None if it has no such sample.
        after: The second's.
        kind: ``same``; ``sides``: same ids, other loss masks; ``tokens``: same text, other ids; ``text``: another
            text; ``one-sided``: only one setting gives this sample.
        moves: What is trained on one side only; of another text, the lines that both have.
        lines: How the texts differ, if they do.
    """

    before: Item | None
    after: Item | None
    kind: Kind
    moves: tuple[Move, ...] = ()
    lines: tuple[TextLine, ...] = ()

    def as_json(self, *, ids: bool = False) -> dict[str, Any]:
        """The difference as plain JSON.

        Args:
            ids: With lists of all tokens.
        """
        return {
            "kind": self.kind,
            "before": _item_json(self.before, ids=ids),
            "after": _item_json(self.after, ids=ids),
            "moves": [{name: getattr(move, name) for name in Move.__slots__} for move in self.moves],
            "lines": [
                {
                    "sign": line.sign,
                    "stretches": [{"text": text, "trained": trained} for text, trained in line.stretches],
                    "reasons": list(line.reasons),
                    "hidden": line.hidden,
                }
                for line in self.lines
            ],
        }


@dataclass(slots=True)
class DiffCounts:
    """Differences counted: samples by kind, and tokens that change sides."""

    same: int = 0
    sides: int = 0
    tokens: int = 0
    text: int = 0
    one_sided: int = 0
    newly_trained: int = 0
    newly_masked: int = 0

    def add(self, difference: Difference) -> None:
        """Count one sample."""
        name = difference.kind.replace("-", "_")
        setattr(self, name, getattr(self, name) + 1)
        self.newly_trained += sum(move.tokens for move in difference.moves if move.now_trained)
        self.newly_masked += sum(move.tokens for move in difference.moves if not move.now_trained)

    def as_json(self) -> dict[str, int]:
        """The counts as plain JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def paired(before: Sequence[Item], after: Sequence[Item]) -> Iterator[tuple[Item | None, Item | None]]:
    """Samples of one row under two settings, paired by the turn they were unrolled for."""
    left = {_turn(item): item for item in before}
    right = {_turn(item): item for item in after}
    for turn in [*left, *(turn for turn in right if turn not in left)]:
        yield left.get(turn), right.get(turn)


def compare(before: Item | None, after: Item | None) -> Difference:
    """Compare one sample under two settings."""
    if not isinstance(before, Explanation) or not isinstance(after, Explanation):
        is_same = isinstance(before, Refusal) and isinstance(after, Refusal) and before.code == after.code
        return Difference(before, after, "same" if is_same else "one-sided")
    if before.text != after.text:
        moves, lines = _text_difference(before, after)
        return Difference(before, after, "text", moves, lines)
    if [token.id for token in before.tokens] != [token.id for token in after.tokens]:
        cells = _character_cells(_characters(before), _characters(after))
        return Difference(before, after, "tokens", tuple(_moves(cells, before)))
    moves = tuple(_moves(_token_cells(before, after), before))
    one_sided = bool(before.left_out) != bool(after.left_out)
    return Difference(before, after, "one-sided" if one_sided else "sides" if moves else "same", moves)


class _Cell(NamedTuple):
    """The smallest thing compared: a token, or a character where tokens differ."""

    start: int
    stop: int
    tokens: int
    sides: tuple[bool, bool]
    reasons: tuple[str, str]


def _token_cells(before: Explanation, after: Explanation) -> Iterator[_Cell]:
    for left, right in zip(before.tokens, after.tokens, strict=True):
        yield _Cell(left.start, left.stop, 1, (left.trained, right.trained), (left.reason, right.reason))


def _character_cells(old: Sequence["_Char"], new: Sequence["_Char"]) -> Iterator[_Cell]:
    for left, right in zip(old, new, strict=True):
        sides, reasons = (left.trained, right.trained), (left.reason, right.reason)
        yield _Cell(left.position, left.position + 1, left.tokens, sides, reasons)


class _Char(NamedTuple):
    """One character of a text: whether its first token is trained, why, and how many tokens start there."""

    text: str
    position: int
    trained: bool
    reason: str
    tokens: int


def _characters(sample: Explanation) -> list[_Char]:
    found = [_Char(char, position, False, "", 0) for position, char in enumerate(sample.text)]
    for token in reversed(sample.tokens):
        for position in range(token.start, token.stop):
            tokens = found[position].tokens + (position == token.start)
            found[position] = _Char(sample.text[position], position, token.trained, token.reason, tokens)
    return found


def _moves(cells: Iterator[_Cell], before: Explanation) -> Iterator[Move]:
    """Neighbouring cells that change sides in the same way and for the same reasons, as one."""
    key: Callable[[_Cell], Any] = lambda cell: (cell.sides, cell.reasons)  # noqa: E731
    for ((old, new), (why_old, why_new)), group in groupby(cells, key=key):
        if old == new:
            continue
        members = list(group)
        start, stop = members[0].start, max(cell.stop for cell in members)
        tokens = sum(cell.tokens for cell in members)
        yield Move(start, stop, tokens, before.text[start:stop], new, why_old, why_new)


def _text_difference(before: Explanation, after: Explanation) -> tuple[tuple[Move, ...], tuple[TextLine, ...]]:
    old, new = _lines(before), _lines(after)
    matcher = SequenceMatcher(None, [_text(line) for line in old], [_text(line) for line in new], autojunk=False)
    moves: list[Move] = []
    lines: list[TextLine] = []
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            lines += _context(old[low:high], is_first=low == 0, is_last=high == len(old))
            cells = _character_cells(list(chain(*old[low:high])), list(chain(*new[new_low:new_high])))
            moves += _moves(cells, before)
            continue
        lines += [_text_line("-", line) for line in old[low:high]]
        lines += [_text_line("+", line) for line in new[new_low:new_high]]
    return tuple(moves), tuple(lines)


def _lines(sample: Explanation) -> list[list[_Char]]:
    characters = _characters(sample)
    lines = sample.text.splitlines(keepends=True)
    ends = accumulate(map(len, lines))
    return [characters[end - len(line) : end] for line, end in zip(lines, ends, strict=True)]


def _text(line: Sequence[_Char]) -> str:
    return "".join(char.text for char in line)


def _text_line(sign: str, line: Sequence[_Char]) -> TextLine:
    groups = [(trained, _text(list(group))) for trained, group in groupby(line, key=lambda char: char.trained)]
    reasons = tuple(dict.fromkeys(char.reason for char in line))
    return TextLine(sign, tuple((text, trained) for trained, text in groups), reasons)


def _context(lines: Sequence[Sequence[_Char]], *, is_first: bool, is_last: bool) -> list[TextLine]:
    """Equal lines next to changes; what lies between is counted."""
    head = [] if is_first else lines[:CONTEXT_LINES]
    tail = [] if is_last else lines[max(len(head), len(lines) - CONTEXT_LINES) :]
    hidden = len(lines) - len(head) - len(tail)
    gap = [TextLine("@", hidden=hidden)] if hidden else []
    return [_text_line(" ", line) for line in head] + gap + [_text_line(" ", line) for line in tail]


def _turn(item: Item) -> int | None:
    return item.origin.turn if isinstance(item, Explanation) else None


def _item_json(item: Item | None, *, ids: bool) -> dict[str, Any] | None:
    if item is None:
        return None
    return item.as_json(ids=ids) if isinstance(item, Explanation) else item.as_json()
