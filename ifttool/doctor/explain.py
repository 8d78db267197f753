"""Why a turn isn't ``exact``, in words: what a server would feed the model beside what stands before the turn."""

import re
from dataclasses import dataclass
from typing import Any

from ifttool.doctor.result import Evidence, excerpt, quoted
from ifttool.errors import RowError
from ifttool.records import Conversation, Message
from ifttool.template.chat_template import REASONING_FIELDS, ChatTemplate, TracedRender
from ifttool.template.symbols import owner
from ifttool.template.turns import Verdict, common_text, locate, message_of, own_end, prompt_tail

# Markup that opens reasoning: <think>, [THINK], <|START_THINKING|>, <|channel|>analysis, <seed:think>, /think.
_OPENS_REASONING = re.compile(
    r"[<\[][^<>\[\]\s]{0,24}(?:think|thought|reason|channel|analysis)|/(?:no_)?think\b", re.IGNORECASE
)

ADVICE: dict[str, str] = {
    "prompt-first-turn": "drop the leading assistant message, or flag it with \"train\": false",
    "prompt-refused": "flag such turns with \"train\": false, or use another template",
    "prompt-turn-refused": "such a turn can only be trained inside a longer conversation; use another template",
    "prompt-opens-reasoning": (
        "give every turn the reasoning it would have, set a template variable that turns reasoning off, "
        "or use a template whose generation prompt ends where its turns start"
    ),
    "prompt-white-space": "correct the white space of the generation prompt in a copy: --template FILE",
    "prompt-header": "make the generation prompt end as the turn's header does in a copy: --template FILE",
    "prompt-context": "unrolling doesn't help; use another template of the family (ifttool templates list)",
    "history-reasoning": "--unroll auto: each turn is trained in a sample of its own, as the model would write it",
    "history-ending": "--unroll auto, or live with earlier turns that end another way than the last",
    "history-context": "--unroll auto: each turn is trained after the context that it had when it was written",
    "history-turn": "--unroll auto: each turn is trained in a sample of its own, as the model would write it",
    "history-gone": "--unroll auto: each turn is trained while it is the last one",
    "dropped-last-only": "--unroll always: each turn is trained while it is the last one",
    "dropped-parts": 'write contents as lists of parts: [{"type": "text", "text": "…"}]',
    "dropped-tool-calls": "use a template that writes tool calls",
    "dropped-empty": "leave out assistant messages without text",
    "dropped-content": "use another template: this one isn't made for chats",
}
"""Cause → what to do about it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one turn has its verdict.

    Attributes:
        cause: A key of :data:`ADVICE`; it starts with the verdict.
        finding: The reason, in one sentence.
        evidence: The two texts that should agree.
    """

    cause: str
    finding: str
    evidence: Evidence

    @property
    def advice(self) -> str:
        return ADVICE[self.cause]


def explain(template: ChatTemplate, conversation: Conversation, turn: int, verdict: Verdict) -> Explanation:
    """Say why a turn of a conversation has a verdict other than ``exact``.

    Args:
        template: The template that gave the verdict.
        conversation: A conversation that it renders.
        turn: Message index of the turn.
        verdict: The verdict, as :class:`ifttool.template.analyser.Analyser` gave it.

    Raises:
        ValueError: The verdict is ``exact``: there is nothing to explain.
        RowError: The template refuses the conversation.
    """
    messages, tools = conversation.messages, conversation.tools
    full = template.trace(messages, tools)
    own = _trace(template, messages[: turn + 1], tools)
    if verdict is Verdict.DROPPED:
        return _dropped(template, conversation, turn, full, own)
    if turn == 0:
        return Explanation(
            "prompt-first-turn",
            "the conversation starts with this turn, so that no server would have fed the model anything before it",
            (),
        )
    prompt = _trace(template, messages[:turn], tools, add_generation_prompt=True)
    for cause, render, what in (
        ("prompt-refused", prompt, "a generation prompt after the messages before this turn"),
        ("prompt-turn-refused", own, "a conversation that ends with this turn"),
    ):
        if isinstance(render, RowError):
            return Explanation(cause, f"the template refuses {what}", (("it says", render.message),))
    assert isinstance(own, TracedRender) and isinstance(prompt, TracedRender)
    if verdict is Verdict.PROMPT:
        return _prompt(_Sides(own, prompt, turn, conversation))
    if verdict is Verdict.HISTORY:
        return _history(full, own, prompt, turn, conversation)
    raise ValueError("an exact turn needs no explanation")


def _trace(
    template: ChatTemplate, messages: list[Message], tools: Any, *, add_generation_prompt: bool = False
) -> TracedRender | RowError:
    try:
        return template.trace(messages, tools, add_generation_prompt=add_generation_prompt)
    except RowError as error:
        return error


# -- prompt ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sides:
    """A turn as last message, and its generation prompt."""

    own: TracedRender
    prompt: TracedRender
    turn: int
    conversation: Conversation


def _prompt(sides: _Sides) -> Explanation:
    own, prompt = sides.own, sides.prompt
    at = common_text(own.text, prompt.text)
    header = len(prompt.text) - len(prompt_tail(prompt))
    evidence = (("at inference", excerpt(prompt.text, at)), ("in training", excerpt(own.text, at)))
    if at < header:
        change = _change(prompt, own, sides.conversation, before=sides.turn)
        return Explanation("prompt-context", f"adding the turn rewrites what stands before it: {change}", evidence)
    place = locate(own.pieces, sides.turn)
    # A template may leave the turn out of its own render; whatever follows is then compared.
    opening = own.text[header : place.start if place is not None else len(own.text)]
    wanted = prompt.text[header:]
    missing = prompt.text[at:]
    if not missing.strip() or "".join(wanted.split()) == "".join(opening.split()):
        return Explanation(
            "prompt-white-space",
            f"the generation prompt and the turn's header differ in white space: {quoted(wanted)} and {quoted(opening)}",
            evidence,
        )
    if _OPENS_REASONING.search(missing):
        return Explanation(
            "prompt-opens-reasoning",
            f"the generation prompt ends in {quoted(missing)}, and the recorded turn doesn't have that: "
            "the model would be trained to answer without the opening it is given at inference",
            evidence,
        )
    found = f"opened with {quoted(opening)}" if opening.strip() else "written without a header"
    finding = f"the generation prompt ends in {quoted(wanted)}, but the recorded turn is {found}"
    return Explanation("prompt-header", finding, evidence)


# -- history ---------------------------------------------------------------------------------------------------------


def _history(
    full: TracedRender, own: TracedRender, prompt: TracedRender, turn: int, conversation: Conversation
) -> Explanation:
    ending = own_end(own, turn, prompt)
    closed = own.text[: ending[1]] if ending is not None else own.text.rstrip()
    at = common_text(full.text, closed)
    evidence = (("as last turn", excerpt(closed, at)), ("later", excerpt(full.text, at)))
    place, later = locate(own.pieces, turn), locate(full.pieces, turn)
    if later is None:
        return Explanation("history-gone", "the turn is left out once more messages follow", evidence)
    if place is not None and at >= place.stop:
        return Explanation(
            "history-ending",
            f"as the last message the turn ends in {quoted(closed[place.stop :])}; "
            f"with messages after it, it goes on with {quoted(full.text[later.stop : later.tail_stop])}",
            evidence,
        )
    if at < len(prompt.text) - len(prompt_tail(prompt)):
        change = _change(own, full, conversation, before=turn + 1)
        finding = f"what stands before the turn changes once more messages follow: {change}"
        return Explanation("history-context", finding, evidence)
    if _has_reasoning(own, turn) and not _has_reasoning(full, turn):
        return Explanation("history-reasoning", "the turn loses its reasoning once more messages follow", evidence)
    if _OPENS_REASONING.search(closed[at:]) and not _OPENS_REASONING.search(full.text[at : later.tail_stop]):
        finding = "the turn's reasoning block is written only until more messages follow"
        return Explanation("history-reasoning", finding, evidence)
    return Explanation(
        "history-turn", "the turn itself is written differently once more messages follow", evidence
    )


def _has_reasoning(render: TracedRender, message: int) -> bool:
    paths = (owner(piece.node) for piece in render.pieces if piece.text and message_of(piece.node) == message)
    return any(path is not None and path[2] in REASONING_FIELDS for path in paths)


# -- what changed in the context ---------------------------------------------------------------------------------------


def _change(earlier: TracedRender, later: TracedRender, conversation: Conversation, *, before: int) -> str:
    """What two renders of the same first messages don't share, by where their text comes from."""
    first, second = (_order(render, conversation, before) for render in (earlier, later))
    gone = [part for part in first if part not in second]
    new = [part for part in second if part not in first]
    if gone:
        return f"{_listed(gone)} {'is' if len(gone) == 1 else 'are'} no longer written"
    if new:
        return f"{_listed(new)} {'is' if len(new) == 1 else 'are'} written that weren't before"
    moved = next((part for part, other in zip(first, second, strict=True) if part != other), None)
    return f"{moved} stands elsewhere" if moved is not None else "the template's own text differs"


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


# -- dropped -----------------------------------------------------------------------------------------------------------


def _dropped(
    template: ChatTemplate,
    conversation: Conversation,
    turn: int,
    full: TracedRender,
    own: TracedRender | RowError,
) -> Explanation:
    message = conversation.messages[turn]
    evidence = (("the text ends in", excerpt(full.text, len(full.text))),)
    if not any(value for name, value in message.items() if name not in ("role", "name")):
        return Explanation("dropped-empty", "the turn is empty, and nothing stands for it in the text", evidence)
    if isinstance(own, TracedRender) and turn + 1 < len(conversation.messages) and locate(own.pieces, turn):
        finding = "the template writes the turn only while it is the last message"
        return Explanation("dropped-last-only", finding, evidence)
    if _printed_as_parts(template, conversation, turn):
        finding = "the template writes contents that are lists of parts only, and skips plain strings"
        return Explanation("dropped-parts", finding, evidence)
    if message.get("tool_calls") and not message.get("content"):
        return Explanation("dropped-tool-calls", "the template writes no tool calls", evidence)
    written = [other for other in range(len(conversation.messages)) if locate(full.pieces, other) is not None]
    roles = sorted({str(conversation.messages[other]["role"]) for other in written})
    known = f"only of {' and '.join(roles)}" if roles else "of no message at all"
    return Explanation("dropped-content", f"the template doesn't write the turn: it writes text {known}", evidence)


def _printed_as_parts(template: ChatTemplate, conversation: Conversation, turn: int) -> bool:
    if not isinstance(conversation.messages[turn].get("content"), str):
        return False
    messages = [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in conversation.messages
    ]
    render = _trace(template, messages, conversation.tools)
    return isinstance(render, TracedRender) and locate(render.pieces, turn) is not None
