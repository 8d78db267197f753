"""The template under examination: renders of probes, and what they leave out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ifttool.doctor.probes import Probe
from ifttool.errors import RowError
from ifttool.recipe import Recipe
from ifttool.records import Conversation, Message
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import REASONING_FIELDS, ChatTemplate
from ifttool.template.layout import Analysis
from ifttool.worker import build_template

_PARTS = {"content": "content", "tool_result": "content", "reasoning": "reasoning", "tool_call": "tool calls"}


class Subject:
    """A template with everything that decides what it prints.

    Args:
        recipe: Names the template, its kwargs and its clock.
        special_tokens: ``bos_token``, ``eos_token``… as the tokenizer gives them.

    Raises:
        TemplateError: The template doesn't compile.
    """

    def __init__(self, recipe: Recipe, special_tokens: dict[str, str]) -> None:
        self.recipe = recipe
        self.special_tokens = special_tokens
        self.template: ChatTemplate = build_template(recipe, special_tokens)
        # Every probe is analysed a few times at most, so that compiling plans wouldn't pay.
        self._analyser = Analyser(self.template, use_plans=False)
        self._analyses: dict[str, Analysis | RowError] = {}

    def analyse(self, probe: Probe) -> Analysis | RowError:
        """A probe with its turns located, or why the template refuses it."""
        known = self._analyses.get(probe.name)
        if known is None:
            known = self._analyses[probe.name] = self.try_analyse(probe.conversation, probe.turns)
        return known

    def try_analyse(self, conversation: Conversation, turns: Sequence[int] = ()) -> Analysis | RowError:
        """Any conversation with the given turns located, or why the template refuses it."""
        try:
            return self._analyser.analyse(conversation, turns)
        except RowError as error:
            return error

    def render(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> str | RowError:
        """The text of a conversation, or why the template refuses it."""
        try:
            return self.template.render(messages, tools, add_generation_prompt=add_generation_prompt)
        except RowError as error:
            return error

    def altered(self, **options: Any) -> "Subject":
        """The same template under another recipe (kwargs, date)."""
        return Subject(replace(self.recipe, **options), self.special_tokens)


class Unprinted(NamedTuple):
    """Something a conversation has and its render lacks.

    Attributes:
        message: Index of the message; -1 for the tools on offer.
        part: ``content``, ``reasoning``, ``tool calls`` or ``tools``.
    """

    message: int
    part: str


def unprinted(conversation: Conversation, analysis: Analysis) -> list[Unprinted]:
    """What the template left out, told from where each piece of the render comes from.

    A render that couldn't be traced says nothing about this, and gives an empty list.
    """
    layout = analysis.layout
    if layout.lost:
        return []
    printed = set()
    for label, text in zip(layout.labels, analysis.texts, strict=True):
        if text and label.kind == "tools":
            printed.add(Unprinted(-1, "tools"))
        elif text and label.kind in _PARTS:
            printed.add(Unprinted(label.message, _PARTS[label.kind]))
    wanted = [Unprinted(-1, "tools")] if conversation.tools else []
    for index, message in enumerate(conversation.messages):
        wanted += [Unprinted(index, part) for part in _parts_of(message)]
    return [part for part in wanted if part not in printed]


def _parts_of(message: Message) -> list[str]:
    content = message.get("content")
    parts = ["content"] if (content.strip() if isinstance(content, str) else content) else []
    if any(message.get(name) for name in REASONING_FIELDS):
        parts.append("reasoning")
    if message.get("tool_calls"):
        parts.append("tool calls")
    return parts


def lost(analysis: Analysis, conversation: Conversation, part: str) -> list[int]:
    """Messages whose part of the given kind the template left out; see :class:`Unprinted`."""
    return [gone.message for gone in unprinted(conversation, analysis) if gone.part == part]
