"""What can be said of one sample, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ifttool.records import Place
from ifttool.samples import Origin

Stretch = tuple[str, bool]
"""Some text of a sample, and whether the tokens that spell it are trained."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a sample.

    Attributes:
        id: Its id.
        start: First character in the sample's text.
        stop: One past its last character. Tokens that spell one character together share its bounds.
        trained: Whether it is a training target.
        reason: Why it is or isn't; empty if that isn't known.
        stray: Whether it is treated otherwise than the span it starts in, or reaches beyond it.
    """

    id: int
    start: int
    stop: int
    trained: bool
    reason: str
    stray: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text of one kind and one fate.

    Attributes:
        start: First character.
        stop: One past the last character.
        tokens: How many tokens start in it.
        message: Index of the message it belongs to; None for text of the template, tools and kwargs.
        role: Role of that message.
        kind: ``scaffold``, ``header``, ``content``, ``reasoning``, ``tool_call``, ``tool_result``,
            ``end_of_turn``, ``tools`` or ``kwargs``.
        trained: Whether tokens that start in it bear loss.
        reason: Why, in words.
    """

    start: int
    stop: int
    tokens: int
    message: int | None
    role: str | None
    kind: str
    trained: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TurnNote:
    """One located turn: its message, role and verdict, and the codes of what was found about it."""

    message: int
    role: str
    verdict: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that gives no sample, and why.

    Attributes:
        place: The row.
        id: Its identifier, if that could be read.
        code: A code of ``ifttool.findings.CODES``.
        message: What is wrong.
        path: Where in the row, or an empty string.
        hint: The next step, or an empty string.
    """

    place: Place
    id: str | None
    code: str
    message: str
    path: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """The refusal as plain JSON."""
        return {
            "source": self.place.source,
            "line": self.place.line,
            "id": self.id,
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """One sample, token by token.

    Attributes:
        origin: Where it comes from. The verdict is ``unknown`` for a shard without provenance.
        text: The text that the tokens spell.
        tokens: Exactly the tokens of the sample, in order.
        spans: The text in stretches; empty if reasons aren't known (finished shards).
        turns: The located turns; empty if they aren't known.
        findings: Codes of what was found about the sample, sorted.
        notes: What else there is to know, in words.
        left_out: Why ``mask`` doesn't write this sample; an empty string if it does.
    """

    origin: Origin
    text: str
    tokens: tuple[Token, ...]
    spans: tuple[Span, ...] = ()
    turns: tuple[TurnNote, ...] = ()
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: str = ""

    @property
    def trained_tokens(self) -> int:
        """Number of training targets."""
        return sum(token.trained for token in self.tokens)

    def stretches(self) -> list[Stretch]:
        """The text in order, in stretches of tokens that are all trained or all masked.

        A character that several tokens spell together goes to the first of them. Characters that no token spells
        (some tokenizers drop white space) count as the tokens on both sides if these agree, else as masked. A
        stretch is empty where none of its tokens begins a character.
        """
        pieces: list[Stretch] = []
        position = 0
        before = False
        for token in self.tokens:
            if token.start > position:
                pieces.append((self.text[position : token.start], before and token.trained))
                position = token.start
            pieces.append((self.text[position : token.stop], token.trained))
            position = max(position, token.stop)
            before = token.trained
        if position < len(self.text):
            pieces.append((self.text[position:], False))
        return [
            ("".join(text for text, _ in group), trained)
            for trained, group in groupby(pieces, key=lambda piece: piece[1])
        ]

    def as_json(self, *, ids: bool = False) -> dict[str, Any]:
        """The explanation as plain JSON.

        Args:
            ids: With a list of all tokens.
        """
        origin = self.origin
        plain: dict[str, Any] = {
            "source": origin.place.source,
            "line": origin.place.line,
            "id": origin.id,
            "turn": origin.turn,
            "verdict": origin.verdict,
            "truncated": origin.truncated,
            "tokens": len(self.tokens),
            "trained_tokens": self.trained_tokens,
            "left_out": self.left_out or None,
            "findings": list(self.findings),
            "notes": list(self.notes),
            "turns": [_plain(turn) for turn in self.turns],
            "stretches": [{"text": text, "trained": trained} for text, trained in self.stretches()],
            "spans": [{**_plain(span), "text": self.text[span.start : span.stop]} for span in self.spans],
            "strays": [_plain(token) for token in self.tokens if token.stray],
        }
        if ids:
            plain["ids"] = [_plain(token) for token in self.tokens]
        return plain


Item = Explanation | Refusal
"""What a row gives: samples, or the reason why there is none."""


def _plain(value: Token | Span | TurnNote) -> dict[str, Any]:
    fields: Sequence[str] = value.__slots__
    return {name: list(v) if isinstance(v := getattr(value, name), tuple) else v for name in fields}
