"""Why a turn isn't ``exact``, in words: what a server would feed the model beside what stands before the turn."""

from typing import Any

from ifttool.doctor.explanation import Explanation
from ifttool.doctor.mismatches import explain_history, explain_prompt
from ifttool.doctor.result import excerpt
from ifttool.errors import RowError
from ifttool.records import Conversation, Message
from ifttool.template.chat_template import ChatTemplate, TracedRender
from ifttool.template.turns import Verdict, locate


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
            "the conversation starts with this turn: a server would have fed the model nothing before it",
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
        return explain_prompt(own, prompt, turn, conversation)
    if verdict is Verdict.HISTORY:
        return explain_history(full, own, prompt, turn, conversation)
    raise ValueError("an exact turn needs no explanation")


def _trace(
    template: ChatTemplate, messages: list[Message], tools: Any, *, add_generation_prompt: bool = False
) -> TracedRender | RowError:
    try:
        return template.trace(messages, tools, add_generation_prompt=add_generation_prompt)
    except RowError as error:
        return error


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
    content = conversation.messages[turn].get("content")
    if not isinstance(content, str) or not content:
        return False
    messages = list(conversation.messages)
    messages[turn] = {**messages[turn], "content": [{"type": "text", "text": content}]}
    render = _trace(template, messages, conversation.tools)
    return isinstance(render, TracedRender) and locate(render.pieces, turn) is not None
