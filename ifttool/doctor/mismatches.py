"""Why a generation prompt or a later history isn't what it should be: two texts, and where they part."""

import re

from ifttool.doctor.explanation import Explanation
from ifttool.doctor.result import excerpt, quoted
from ifttool.records import Conversation
from ifttool.template.chat_template import REASONING_FIELDS, TracedRender
from ifttool.template.symbols import owner
from ifttool.template.turns import common_text, locate, message_of, own_end, prompt_tail

# Markup that opens reasoning, such as <think>, [THINK], <|START_THINKING|>, <|channel|>; and what closes it.
_WORDS = "(?:think|thought|reason|channel|analysis)"
_OPENS_REASONING = re.compile(rf"[<\[](?!/)[^<>\[\]\s]{{0,24}}{_WORDS}", re.IGNORECASE)
_CLOSES_REASONING = re.compile(rf"[<\[]/[^<>\[\]\s]{{0,24}}{_WORDS}", re.IGNORECASE)


def explain_prompt(own: TracedRender, prompt: TracedRender, turn: int, conversation: Conversation) -> Explanation:
    """Why the generation prompt isn't what precedes a turn.

    Args:
        own: The messages up to and including the turn.
        prompt: The generation prompt of the turn.
        turn: Message index of the turn.
        conversation: The whole conversation.
    """
    at = common_text(own.text, prompt.text)
    header = len(prompt.text) - len(prompt_tail(prompt))
    evidence = (("at inference", excerpt(prompt.text, at)), ("in training", excerpt(own.text, at)))
    if at < header:
        change = _change(prompt, own, conversation, before=turn, at=at)
        return Explanation("prompt-context", f"adding the turn rewrites what stands before it: {change}", evidence)
    place = locate(own.pieces, turn)
    # A template may leave the turn out of its own render; whatever follows is then compared.
    opening = own.text[header : place.start if place is not None else len(own.text)]
    wanted = prompt.text[header:]
    missing = prompt.text[at:]
    if not missing.strip() or "".join(wanted.split()) == "".join(opening.split()):
        return Explanation(
            "prompt-white-space",
            "but for white space the generation prompt would be what precedes the turn: "
            f"it ends in {quoted(wanted)}, the turn opens with {quoted(opening)}",
            evidence,
        )
    if _OPENS_REASONING.search(missing):
        finding = (
            f"the generation prompt ends in {quoted(missing)}, and the recorded turn doesn't have that: "
            "the model would be trained to answer without the opening it is given at inference"
        )
        return Explanation("prompt-opens-reasoning", finding, evidence)
    if _CLOSES_REASONING.search(missing):
        finding = (
            f"the generation prompt closes the reasoning with {quoted(missing)}, where the recorded turn "
            "goes on otherwise: the model is never asked for this turn's reasoning at inference"
        )
        return Explanation("prompt-closes-reasoning", finding, evidence)
    found = f"opened with {quoted(opening)}" if opening.strip() else "written without a header"
    finding = f"the generation prompt ends in {quoted(wanted)}, but the recorded turn is {found}"
    return Explanation("prompt-header", finding, evidence)


def explain_history(
    full: TracedRender, own: TracedRender, prompt: TracedRender, turn: int, conversation: Conversation
) -> Explanation:
    """Why a turn is exact only until more messages follow.

    Args:
        full: The whole conversation.
        own: The messages up to and including the turn.
        prompt: The generation prompt of the turn.
        turn: Message index of the turn.
        conversation: The whole conversation.
    """
    ending = own_end(own, turn, prompt)
    closed = own.text[: ending[1]] if ending is not None else own.text.rstrip()
    at = common_text(full.text, closed)
    evidence = (("as last turn", excerpt(closed, at)), ("later", excerpt(full.text, at)))
    place, later = locate(own.pieces, turn), locate(full.pieces, turn)
    if later is None:
        cause, finding = "history-gone", "the turn is left out once more messages follow"
    elif place is not None and at >= place.stop:
        cause = "history-ending"
        finding = (
            f"as the last message the turn ends in {quoted(closed[place.stop :])}; "
            f"with messages after it, it goes on with {quoted(full.text[later.stop : later.tail_stop])}"
        )
    elif at < len(prompt.text) - len(prompt_tail(prompt)):
        cause = "history-context"
        change = _change(own, full, conversation, before=turn + 1, at=at)
        finding = f"what stands before the turn changes once more messages follow: {change}"
    elif lost := _lost_reasoning(own, full, turn, removed=closed[at:], instead=full.text[at : later.tail_stop]):
        cause, finding = "history-reasoning", f"{lost} once more messages follow"
    else:
        cause, finding = "history-turn", "the turn itself is written differently once more messages follow"
    return Explanation(cause, finding, evidence)


def _lost_reasoning(own: TracedRender, full: TracedRender, turn: int, *, removed: str, instead: str) -> str:
    """How a turn's reasoning gets lost in the conversation; empty if it isn't reasoning that differs.

    Args:
        own: The turn as last message.
        full: The whole conversation.
        turn: Message index of the turn.
        removed: The turn's text from where the two part.
        instead: What the conversation has there.
    """
    if _has_reasoning(own, turn) and not _has_reasoning(full, turn):
        return "the turn loses its reasoning"
    if _OPENS_REASONING.search(removed) and not _OPENS_REASONING.search(instead):
        return "the turn loses its reasoning block"
    if _CLOSES_REASONING.search(removed) and _own_size(full, turn) < _own_size(own, turn):
        return "the turn's reasoning is cut out of its content"
    return ""


def _own_size(render: TracedRender, message: int) -> int:
    return sum(len(piece.text) for piece in render.pieces if message_of(piece.node) == message)


def _has_reasoning(render: TracedRender, message: int) -> bool:
    paths = (owner(piece.node) for piece in render.pieces if piece.text and message_of(piece.node) == message)
    return any(path is not None and path[2] in REASONING_FIELDS for path in paths)


def _change(earlier: TracedRender, later: TracedRender, conversation: Conversation, *, before: int, at: int) -> str:
    """What two renders of the same first messages don't share, by where their text comes from.

    Args:
        earlier: One render.
        later: The other.
        conversation: What both render the start of.
        before: Only messages before this one count.
        at: Where the texts part.
    """
    first, second = (_order(render, conversation, before) for render in (earlier, later))
    gone = [part for part in first if part not in second]
    new = [part for part in second if part not in first]
    if gone:
        return f"{_listed(gone)} {'is' if len(gone) == 1 else 'are'} no longer written"
    if new:
        return f"{_listed(new)} {'is' if len(new) == 1 else 'are'} written only now"
    moved = next((part for part, other in zip(first, second, strict=True) if part != other), None)
    if moved is not None:
        return f"{moved} stands elsewhere"
    markup = [_OPENS_REASONING.search(render.text[at : at + _NEAR]) is not None for render in (earlier, later)]
    if markup[0] != markup[1]:
        return "the reasoning block of an earlier turn comes or goes"
    return "the template's own text differs"


# A reasoning block that comes or goes starts within so many characters of the place where two texts part.
_NEAR = 24


def _order(render: TracedRender, conversation: Conversation, before: int) -> list[str]:
    """The parts of a conversation in the order in which they are written, by name."""
    parts: dict[str, None] = {}
    for piece in render.pieces:
        path = owner(piece.node)
        if path is None or not piece.text or path[0] == "kwargs":
            continue
        if path[0] == "tools":
            parts["the list of tools"] = None
        elif path[0] == "messages" and int(path[1]) < before and path[2] != "role":
            parts[_part_name(conversation, int(path[1]), str(path[2]))] = None
    return list(parts)


def _part_name(conversation: Conversation, message: int, field: str) -> str:
    role = conversation.messages[message]["role"]
    if role == "system":
        return "the system prompt"
    what = {"tool_calls": "the tool calls", "content": "the text"}.get(field, field)
    what = "the reasoning" if field in REASONING_FIELDS else what
    return f"{what} of message {message} ({role})"


def _listed(names: list[str]) -> str:
    shown = names[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
