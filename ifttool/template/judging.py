"""Whether a turn stands where a server would have put it: its span in the full render, and its verdict.

The terms are those of :mod:`ifttool.template.turns`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ifttool.records import Message
from ifttool.template.chat_template import TracedRender
from ifttool.template.compare import cut_at, starts_with
from ifttool.template.symbols import Guard, Leaf, Piece, Structure, is_fixed, owner, signature
from ifttool.template.turns import (
    HEADER_FIELDS,
    MARKER,
    TurnSpan,
    Verdict,
    common_text,
    header_end,
    is_foreign,
    locate,
    message_of,
    own_end,
    prompt_gap,
    prompt_tail,
)


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
        has_text: Whether the turn holds any text at all. That is for callers to guard (:func:`says_something`), some of
            which keep turns with and without text apart already.
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
        start = place.gap_start + header_end(full.text[place.gap_start : place.start], prompt_gap(prompt))
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


def says_something(message: Message, number: int) -> Iterator[Guard | Structure]:
    """That a message has text or hasn't, as :func:`ifttool.template.turns.has_text` asks.

    Args:
        message: The message.
        number: Its number in the conversation.
    """
    for name, value in message.items():
        if name in HEADER_FIELDS:
            continue
        path = ("messages", number, name)
        if isinstance(value, str):
            yield Guard("truth", (Leaf(path),), (), bool(value))
        elif isinstance(value, dict | list):
            yield Structure(path, signature(value))
        if value:
            return


def judge_texts(full: TracedRender, own: str, prompt: str, message: int, *, data: Iterable[str]) -> TurnSpan | None:
    """The same as :func:`judge` for the two usual cases, from texts alone: three times cheaper than tracing parts.

    Args:
        full: The whole conversation, in which a further message follows the turn.
        own: The messages up to and including the turn.
        prompt: The generation prompt of the turn.
        message: Index of the turn's message.
        data: Every string of the conversation.

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
    if any(ending[0] in text for text in data):
        return None  # what ends the own render may be of the data
    if not place.said or place.said not in closed[len(prompt) : len(closed) - length]:
        return None  # the own render may lack what the turn says
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
    is_cut = True
    for node, text, _ in pieces:
        low, high = max(position, start), min(position + len(text), end)
        position += len(text)
        if is_foreign(node, message):
            is_cut = True  # also where it says nothing: in another row of the same shape it may
        elif low < high and is_cut:
            intervals.append((low, high))
            is_cut = False
        elif low < high:
            intervals[-1] = (intervals[-1][0], high)
    # A turn without a word in it is in the render all the same: an EOS may be put behind it.
    return tuple(intervals) if start < end else ((start, start),)
