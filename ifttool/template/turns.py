"""Where each trained turn stands in a render, and whether it stands where a server would have put it.

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
from ifttool.template.compare import cut_at, starts_with
from ifttool.template.symbols import Guard, Node, Piece, owner
from ifttool.template.tracing import is_fixed

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
    foreign_before = (i for i in range(own[0] - 1, -1, -1) if _is_foreign(pieces[i].node, message))
    owned_after = (i for i in range(own[-1] + 1, len(pieces)) if owner(pieces[i].node) is not None)
    before = next(foreign_before, None)
    after = next(owned_after, None)
    return _Located(
        gap_start=0 if before is None else ends[before],
        start=ends[own[0]] - len(pieces[own[0]].text),
        stop=ends[own[-1]],
        tail_stop=ends[-1] if after is None else ends[after] - len(pieces[after].text),
    )


def _is_foreign(node: Node, message: int) -> bool:
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


def _header_end(gap: str, header: str) -> int:
    """How much of the text before a turn's content is its header, where the generation prompt isn't what precedes it.

    What closes the message before may be written in another way than in the prompt (Hermes breaks the line after a
    tool's result only there), so the opening of the turn is also looked for by its markers: all that is left of the
    prompt from a marker on must stand in the gap, or all that is left of the gap in the prompt.
    """
    end = common_text(gap, header)
    for marker in MARKER.finditer(header):
        at, opening = gap.rfind(marker.group()), header[marker.start() :]
        if at >= end and (gap.startswith(opening, at) or opening.startswith(gap[at:])):
            end = at + min(len(opening), len(gap) - at)
    return end


def common_text(left: str, right: str) -> int:
    """Length of the longest common prefix that doesn't cut a marker in two."""
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    for text in (left, right):
        for marker in MARKER.finditer(text):
            if marker.start() < length < marker.end():
                length = marker.start()
    return length


def own_end(own: TracedRender, message: int, prompt: TracedRender | None) -> tuple[int, int] | None:
    """Where the end-of-turn text of a turn lies in its own render; None if the turn can't be located there.

    Some templates print the next generation prompt whether asked or not. It shows as a tail that ends like this
    turn's own prompt, and isn't part of the turn.
    """
    place = locate(own.pieces, message)
    if place is None:
        return None
    tail = own.text[place.stop : place.tail_stop]
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
    if opening and header.endswith(opening) and tail != header and (opening != tail or opening.rstrip() != opening):
        return markers[0].end() if len(markers) > 1 else 0
    return len(tail)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A located turn, and the guards under which it is found just so for any content (None: this content only)."""

    span: TurnSpan
    guards: tuple[Guard, ...] | None


def judge(
    full: TracedRender,
    own: TracedRender | None,
    prompt: TracedRender | None,
    message: int,
    *,
    has_text: bool,
    generated: bool = True,
) -> Judgement:
    """Locate one turn in the full render and give its verdict.

    Args:
        full: The whole conversation.
        own: The messages up to and including the turn; None if the template refuses them.
        prompt: The generation prompt of the turn; None if the template refuses it.
        message: Index of the turn's message.
        has_text: Whether the turn holds any text at all.
        generated: Whether a model writes such turns. For others (a user turn that is trained) there is no
            generation prompt: the turn starts with its content.
    """
    ask = _Prefixes()
    place = locate(full.pieces, message)
    ending = own_end(own, message, prompt) if own is not None else None
    if own is not None and place is None and (ending is not None or full.lost or own.lost or not has_text):
        return Judgement(_judge_by_text(full, own, prompt, message, gone=ending is not None), None)
    if place is None:
        return Judgement(TurnSpan(message, (), Verdict.DROPPED, (0, 0)), None if full.lost else ())

    header = prompt_tail(prompt) if prompt is not None else ""
    if prompt is not None and ask.starts(full, prompt):
        start = len(prompt.text)
    elif prompt is not None:
        start = place.gap_start + _header_end(full.text[place.gap_start : place.start], prompt_gap(prompt))
        ask.general = ask.general and _is_constant(full.pieces, place.gap_start, place.start)
    else:
        start = place.start
    eot = own.text[ending[0] : ending[1]] if own is not None and ending is not None else ""
    tail = full.text[place.stop : place.tail_stop]
    closing = place.stop, place.stop + (len(eot) if tail.startswith(eot) else _shared_ending(tail, eot, header))
    verdict = Verdict.PROMPT
    opens = not generated or (prompt is not None and own is not None and ask.starts(own, prompt))
    if opens and own is not None and ending is not None:
        closed = TracedRender(own.text[: ending[1]], cut_at(own.pieces, ending[1]), ())
        verdict = Verdict.EXACT if ask.starts(full, closed) else Verdict.HISTORY
        if verdict is Verdict.EXACT:
            # What the message owns further on (gpt-oss heads a tool's result with the name in the call) isn't its turn.
            closing = ending
    intervals = _without_foreign(full.pieces, message, start, closing[1])
    lost = full.lost or (own is not None and own.lost) or (prompt is not None and prompt.lost)
    guards = tuple(ask.guards) if ask.general and not lost else None
    return Judgement(TurnSpan(message, intervals, verdict, _end_of_turn(full, message, closing)), guards)


def judge_texts(full: TracedRender, own: str, prompt: str, message: int) -> TurnSpan | None:
    """The same as :func:`judge` for the two usual cases, from texts alone: three times cheaper than tracing parts.

    Args:
        full: The whole conversation, in which a further message follows the turn.
        own: The messages up to and including the turn.
        prompt: The generation prompt of the turn.
        message: Index of the turn's message.

    Returns:
        The turn; None where only pieces can tell.
    """
    place = locate(full.pieces, message)
    if place is None or not full.text.startswith(prompt) or not own.startswith(prompt):
        return None
    tail = full.text[place.stop : place.tail_stop]
    closed = own.rstrip()
    ends = [len(tail[: marker.end()]) for marker in MARKER.finditer(tail)]
    length = max((end for end in ends if closed.endswith(tail[:end])), default=0)
    ending = [marker.group() for marker in MARKER.finditer(tail[:length])][-1:]
    if not ending or own == prompt or prompt.rstrip().endswith(ending[0]):
        return None  # no end of turn, or it may be the next generation prompt, printed unasked
    end = place.stop + length
    verdict = Verdict.EXACT if full.text.startswith(closed) else Verdict.HISTORY
    if verdict is Verdict.EXACT and end != len(closed):
        return None
    intervals = _without_foreign(full.pieces, message, len(prompt), end)
    return TurnSpan(message, intervals, verdict, _end_of_turn(full, message, (place.stop, end)))


def _end_of_turn(full: TracedRender, message: int, closing: tuple[int, int]) -> tuple[int, int]:
    """The end-of-turn token in the text that closes a turn; what closes a tool call isn't part of it."""
    own = (owner(piece.node) for piece in reversed(full.pieces) if message_of(piece.node) == message)
    last = next((path for path in own if path and path[2] not in HEADER_FIELDS), None)
    if last is None or last[2] != "tool_calls":
        return closing
    markers = list(MARKER.finditer(full.text, *closing))
    return (markers[-1].start(), closing[1]) if len(markers) > 1 else closing


class _Prefixes:
    """Prefix questions between renders, and what the answers depend on."""

    def __init__(self) -> None:
        self.general = True
        self.guards: list[Guard] = []

    def starts(self, whole: TracedRender, start: TracedRender) -> bool:
        comparison = starts_with(whole.pieces, start.pieces)
        if comparison.guards is None:
            self.general = False
        else:
            self.guards.extend(comparison.guards)
        return comparison.answer


def _is_constant(pieces: Sequence[Piece], start: int, stop: int) -> bool:
    """Whether the text between two positions is the same for any content."""
    position = 0
    for piece in pieces:
        low, position = position, position + len(piece.text)
        if low < stop and position > start and not is_fixed(piece.node):
            return False
    return True


def _shared_ending(tail: str, eot: str, header: str) -> int:
    """How much of a turn's end-of-turn text also stands in the conversation, if not all of it does.

    Both texts may go on with the same start of a next header. The marker that opens the generation prompt closed
    the turn before it, so it closes this one too; failing that, the first marker does.
    """
    # Falcon-H1R writes a line break before the end of a turn, but not of the last one.
    lead = len(tail) - len(tail.lstrip())
    shared = tail[lead : lead + common_text(tail[lead:], eot.lstrip())].rstrip()
    if not shared:
        return len(tail[: common_text(tail, eot)].rstrip())
    markers = list(MARKER.finditer(shared))
    closing = MARKER.search(header)
    for marker in markers:
        if closing is not None and marker.group() == closing.group():
            return lead + marker.end()
    return lead + (markers[0].end() if markers else len(shared))


def _judge_by_text(
    full: TracedRender, own: TracedRender, prompt: TracedRender | None, message: int, *, gone: bool
) -> TurnSpan:
    """The verdict where no piece of the turn shows: an empty turn, a lost trace, or a turn gone from history."""
    if prompt is None or not own.text.startswith(prompt.text):
        return TurnSpan(message, (), Verdict.DROPPED if not full.lost else Verdict.PROMPT, (0, 0))
    end = max(len(own.text.rstrip()), len(prompt.text))
    if gone or not full.text.startswith(own.text[:end]):
        return TurnSpan(message, (), Verdict.HISTORY, (0, 0))
    interval = (len(prompt.text), end)
    return TurnSpan(message, (interval,), Verdict.EXACT, interval)


def _without_foreign(pieces: Sequence[Piece], message: int, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """``[start, end)`` less what other messages, tools or kwargs own in it."""
    intervals: list[tuple[int, int]] = []
    position = 0
    for node, text, _ in pieces:
        low, high = max(position, start), min(position + len(text), end)
        position += len(text)
        if low >= high or _is_foreign(node, message):
            continue
        if intervals and intervals[-1][1] == low:
            intervals[-1] = (intervals[-1][0], high)
        else:
            intervals.append((low, high))
    # A turn without a word in it is in the render all the same: an EOS may be put behind it.
    return tuple(intervals) if start < end else ((start, start),)
