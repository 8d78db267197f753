"""A chat template ready to render conversations: by the reference path, or traced into pieces."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ifttool.errors import RowError
from ifttool.records import Message
from ifttool.template.environment import ChatEnvironment, TemplateRaisedError, compiling, has_generation_tags
from ifttool.template.symbols import Guard, Piece, Structure
from ifttool.template.traced_code import compile_traced
from ifttool.template.traced_containers import wrap
from ifttool.template.traced_environment import TracingEnvironment
from ifttool.template.tracing import Trace

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names a message's reasoning goes by; templates read the first or the second (transformers 5.23 aliases them)."""


@dataclass(frozen=True, slots=True)
class TracedRender:
    """One traced render.

    Attributes:
        text: The rendered text, character for character what Jinja printed.
        pieces: What the text is made of, in order; joined they are ``text``.
        guards: What the render depended on beyond the shape of the conversation.
        lost: True if the trace didn't reproduce Jinja's text. ``pieces`` is then one opaque stretch.
    """

    text: str
    pieces: tuple[Piece, ...]
    guards: tuple[Guard | Structure, ...]
    lost: bool = False


class ChatTemplate:
    """A compiled chat template with everything that decides what it prints.

    Args:
        text: The template.
        name: What to call it in messages.
        special_tokens: ``bos_token``, ``eos_token``… as the tokenizer gives them.
        kwargs: Extra template variables such as ``enable_thinking``; they win over special tokens.
        clock: What ``strftime_now`` reads.

    Attributes:
        traced_code: The template for environments that trace.
        has_generation_tags: Whether there is a ``{% generation %}`` tag anywhere in it.

    Raises:
        TemplateError: The text isn't a template.
    """

    def __init__(
        self,
        text: str,
        *,
        name: str,
        special_tokens: Mapping[str, str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        clock: datetime,
    ) -> None:
        self.text = text
        self.name = name
        self.constants = dict(special_tokens or {})
        self.kwargs = dict(kwargs or {})
        self.clock = clock
        reference, self._tracer = ChatEnvironment(clock=clock), TracingEnvironment(clock=clock)
        with compiling(text, name=name):
            tree = reference.parse(text)
            self.has_generation_tags = has_generation_tags(tree)
            self._reference = reference.from_string(tree)
            # Marks the loops of the tree, so it must come second.
            self.traced_code = compile_traced(self._tracer, tree)
        self._traced = self.traced_code.bound_to(self._tracer)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """The reference render: what ``transformers.apply_chat_template(tokenize=False)`` returns.

        Raises:
            RowError: ``IFT301`` if the template refuses the conversation, ``IFT302`` if it fails on it.
        """
        variables = {
            **self.constants,
            **self.kwargs,
            "messages": aliased(messages),
            "tools": list(tools) if tools is not None else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._reference.render(variables)
        except Exception as error:
            raise self._row_error(error, messages) from error

    def trace(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> TracedRender:
        """Render on traced data; the result is compared with the reference render before it is trusted.

        Raises:
            RowError: As :meth:`render`.
        """
        text = self.render(messages, tools, add_generation_prompt=add_generation_prompt)
        trace = Trace()
        variables = {
            **self.constants,
            **{name: wrap(trace, value, ("kwargs", name)) for name, value in self.kwargs.items()},
            "messages": [traced_message(trace, message, index) for index, message in enumerate(messages)],
            "tools": wrap(trace, list(tools), ("tools",)) if tools is not None else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            traced = self._tracer.run(self._traced, variables, trace)
        except Exception:  # whatever a str subclass upset: the reference render above is what counts
            return TracedRender(text, (Piece(text, text),), (), lost=True)
        if str.__str__(traced) != text:
            return TracedRender(text, (Piece(text, text),), (), lost=True)
        return TracedRender(text, traced.pieces, tuple(trace.guards))

    def _row_error(self, error: Exception, messages: Sequence[Message]) -> RowError:
        if isinstance(error, TemplateRaisedError):
            return RowError("IFT301", str(error), hint=f"said by chat template {self.name}")
        detail = f"{type(error).__name__}: {error}"
        hint = _cause(str(error), messages)
        return RowError("IFT302", f"chat template {self.name} failed: {detail}", hint=hint)


def _cause(complaint: str, messages: Sequence[Message]) -> str:
    """What about the messages Jinja may have meant; an empty string if nothing fits its words."""
    if "'dict object' has no attribute 'content'" in complaint:
        missing = _first(messages, lambda message: "content" not in message)
        if missing is not None:
            return (
                f'message {missing} (counted from 0) has no content, which this template asks for: write "content": "" '
                "there, or take another template; ifttool templates doctor says what one takes"
            )
    elif '(not "list")' in complaint or "'list object'" in complaint:
        in_parts = _first(messages, lambda message: isinstance(message.get("content"), list))
        if in_parts is not None:
            return (
                f"message {in_parts} (counted from 0) has its content as a list of parts, which this template can't "
                "print: write it as a string, or take another template"
            )
    return ""


def _first(messages: Sequence[Message], fits: Callable[[Message], bool]) -> int | None:
    return next((index for index, message in enumerate(messages) if fits(message)), None)


def aliased(messages: Sequence[Message]) -> list[Message]:
    """Messages as templates read them: reasoning under every name that templates know it by."""
    return [_with_aliases(message)[0] for message in messages]


def _with_aliases(message: Message) -> tuple[Message, str | None]:
    """A message with its reasoning under every name, and the field the reasoning came from."""
    field = next((name for name in REASONING_FIELDS if message.get(name) is not None), None)
    if field is None:
        return dict(message), None
    reasoning = message[field]
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}, field


def traced_message(trace: Trace, message: Message, index: int) -> Message:
    fields, source = _with_aliases(message)
    traced = {}
    for name, value in fields.items():
        alias = source and (name == "reasoning_content" or (name == "thinking" and name not in message))
        traced[name] = wrap(trace, value, ("messages", index, source if alias and source else name))
    return traced
