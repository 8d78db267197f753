"""Where a turn stands in a render: its content, its generation prompt and its end.

Terms (DESIGN section 3). The *generation prompt* of turn *k* is the render of the messages before *k* with
``add_generation_prompt=True``. The *completion* of turn *k* is what follows it in the render of the messages up to
and including *k* (here: the turn's *own render*), through its end-of-turn token. Whitespace after that token is not
part of it. Everything is decided on pieces; text is never searched for contents.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from ifttool.records import Message
from ifttool.template.chat_template import TracedRender
from ifttool.template.symbols import Node, Piece, is_fixed, owner

# What looks like one control token where a tokenizer hasn't told: <|im_end|>, </s>, <end_of_turn>, [/INST].
MARKER = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,}\]")

# What generation prompts call the model.
_ROLE = re.compile(r"assistant|model|bot|gpt|response", re.IGNORECASE)

# Fields of a message that templates print in its header, before what the model writes.
HEADER_FIELDS = frozenset({"role", "name"})


# Some templates spell markers with the role ('<|' + role + '|>'). A role of the data may be any word, and ``end`` would
# end a turn there, so only those that are roles count as the template's own text.
ROLE_WORDS = frozenset(
    ("system", "developer", "user", "human", "assistant", "model", "gpt", "bot", "tool", "function", "ipython",
     "observation", "environment", "context", "documents")
)  # fmt: skip

GENERATED_ROLES = frozenset({"assistant", "model"})
"""Roles whose turns a model writes, after a generation prompt."""


def has_text(message: Message) -> bool:
    """Whether a message says anything beyond what templates print in its header."""
    return bool(message.get("content")) or any(value for name, value in message.items() if name not in HEADER_FIELDS)


class Verdict(StrEnum):
    """Whether what precedes a trained turn is what a server would feed the model at that point."""

    EXACT = "exact"
    """The generation prompt precedes the turn, and the whole turn stands unchanged in the conversation."""
    HISTORY = "history"
    """Exact on its own, but rendered differently once more messages follow; unrolling makes it exact."""
    PROMPT = "prompt"
    """The generation prompt isn't what precedes the turn, or the template refuses to give one."""
    DROPPED = "dropped"
    """The turn's content isn't in the render at all."""

    @property
    def code(self) -> str | None:
        """The finding that goes with the verdict; None for ``exact``."""
        return _CODES.get(self)


_CODES = {Verdict.HISTORY: "IFT501", Verdict.PROMPT: "IFT502", Verdict.DROPPED: "IFT503"}


@dataclass(frozen=True, slots=True)
class TurnSpan:
    """One turn in a rendered conversation.

    Attributes:
        message: Index of the turn's message.
        intervals: Half-open character intervals of the completion; more than one only where the template prints
            another message's text inside it. None if the turn isn't in the render.
        verdict: Train/inference parity of the turn.
        end_of_turn: Character interval of the end-of-turn text inside the completion; empty if there is none.
    """

    message: int
    intervals: tuple[tuple[int, int], ...]
    verdict: Verdict
    end_of_turn: tuple[int, int]

    @property
    def ends(self) -> bool:
        """Whether the completion ends in an end-of-turn token."""
        return self.end_of_turn[0] < self.end_of_turn[1]


@dataclass(frozen=True, slots=True)
class _Located:
    """Own content of a message in one render: its piece range and the constant text on both sides."""

    gap_start: int  # where the text between the previous message's content and this one's starts
    start: int
    stop: int
    tail_stop: int  # where the constant text after the content ends
    said: str  # the last of its strings that isn't empty


def message_of(node: Node) -> int | None:
    """Index of the message a node's text belongs to; None for template text, tools and kwargs."""
    path = owner(node)
    return int(path[1]) if path and path[0] == "messages" else None


def _is_header(node: Node) -> bool:
    path = owner(node)
    return path is not None and path[0] == "messages" and path[2] in HEADER_FIELDS


def locate(pieces: Sequence[Piece], message: int) -> _Located | None:
    """Find a message's own content in a render; None if the render holds none of it."""
    own = [
        index for index, piece in enumerate(pieces) if message_of(piece.node) == message and not _is_header(piece.node)
    ]
    if not own:
        return None
    ends = list(accumulate(len(piece.text) for piece in pieces))
    foreign_before = (i for i in range(own[0] - 1, -1, -1) if is_foreign(pieces[i].node, message))
    # The turn's own role isn't what follows it: it may be spelled in the end of the turn ('</' + role + '>').
    owned_after = (
        i
        for i in range(own[-1] + 1, len(pieces))
        if owner(pieces[i].node) is not None
        and not (message_of(pieces[i].node) == message and is_fixed(pieces[i].node))
    )
    before = next(foreign_before, None)
    after = next(owned_after, None)
    return _Located(
        gap_start=0 if before is None else ends[before],
        start=ends[own[0]] - len(pieces[own[0]].text),
        stop=ends[own[-1]],
        tail_stop=ends[-1] if after is None else ends[after] - len(pieces[after].text),
        said=next((pieces[index].text for index in reversed(own) if pieces[index].text), ""),
    )


def is_foreign(node: Node, message: int) -> bool:
    """Whether a node's text belongs to the data, but not to this message."""
    return owner(node) is not None and message_of(node) != message


def prompt_tail(render: TracedRender) -> str:
    """The constant text that ends a generation prompt, after the last content in it."""
    length = 0
    for node, text, _ in reversed(render.pieces):
        if owner(node) is not None and not _is_header(node):
            break
        length += len(text)
    return render.text[len(render.text) - length :]


def prompt_gap(render: TracedRender) -> str:
    """What a generation prompt writes after the last text of the data, be it a name or a role in a header."""
    length = 0
    for node, text, _ in reversed(render.pieces):
        if owner(node) is not None:
            break
        length += len(text)
    return render.text[len(render.text) - length :]


def header_end(gap: str, header: str) -> int:
    """How much of the text before a turn's content is its header, where the generation prompt isn't what precedes it.

    What closes the message before may be written in another way than in the prompt (Hermes breaks the line after a
    tool's result only there), so the opening of the turn is also looked for by its markers: all that is left of the
    prompt from a marker on must stand in the gap, or all that is left of the gap in the prompt. Where both end alike,
    and that names the model, there is nothing but header.
    """
    alike = _common(gap[::-1], header[::-1])
    if alike and _ROLE.search(gap[-alike:]):
        return len(gap)
    end = common_text(gap, header)
    for marker in MARKER.finditer(header):
        at, opening = gap.rfind(marker.group()), header[marker.start() :]
        if at >= end and (gap.startswith(opening, at) or opening.startswith(gap[at:])):
            end = at + min(len(opening), len(gap) - at)
    return end


def common_text(left: str, right: str) -> int:
    """Length of the longest common prefix that doesn't cut a marker in two."""
    length = _common(left, right)
    for text in (left, right):
        for marker in MARKER.finditer(text):
            if marker.start() < length < marker.end():
                length = marker.start()
    return length


def _common(left: str, right: str) -> int:
    """Length of the longest common prefix."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (mine, other) in pairs if mine != other), min(len(left), len(right)))


def own_end(own: TracedRender, message: int, prompt: TracedRender | None) -> tuple[int, int] | None:
    """Where the end-of-turn text of a turn lies in its own render; None if the turn can't be located there.

    Some templates print the next generation prompt whether asked or not. It shows as a tail that ends like this
    turn's own prompt, and isn't part of the turn. Nor is what introduces text that isn't the turn's, be it a system
    prompt that is printed last: it stands behind the turn's last marker.
    """
    place = locate(own.pieces, message)
    if place is None:
        return None
    tail = own.text[place.stop : place.tail_stop]
    if place.tail_stop < len(own.text) and (markers := list(MARKER.finditer(tail))):
        tail = tail[: markers[-1].end()]
    if prompt is not None:
        tail = tail[: _before_next_prompt(tail, prompt_tail(prompt))]
    return (place.stop, place.stop + len(tail.rstrip()))


def _before_next_prompt(tail: str, header: str) -> int:
    """How much of the text behind a turn's content comes before the next generation prompt, if that is in it.

    Args:
        tail: Constant text behind the content of the turn, in its own render.
        header: The same behind the message before it, in the turn's generation prompt: what closed that message,
            and the prompt proper.
    """
    closing = MARKER.search(header)
    proper = header[closing.end() :] if closing else header
    is_prompt = _ROLE.search(proper) or MARKER.sub("", proper).strip()
    if is_prompt and tail.endswith(proper):
        return len(tail) - len(proper)
    markers = list(MARKER.finditer(tail))
    opening = tail[markers[-1].start() :] if markers else ""
    closes = opening == header and not _ROLE.search(opening)  # no prompt at all: it closed the message before
    if (
        opening
        and not closes
        and header.endswith(opening)
        and tail != header
        and (opening != tail or opening.rstrip() != opening)
    ):
        return markers[0].end() if len(markers) > 1 else 0
    return len(tail)
