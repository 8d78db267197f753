"""One input row → the texts to encode and the character intervals that bear loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ifttool.errors import RowError
from ifttool.formats import to_conversation
from ifttool.io.jsonl import decode_row
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import Origin
from ifttool.template.chat_template import ChatTemplate, TracedRender
from ifttool.template.turns import TurnSpan, Verdict, generation_spans, judge
from ifttool.unroll import trained_turns, unrolled

_WORST_FIRST = (Verdict.DROPPED, Verdict.PROMPT, Verdict.HISTORY, Verdict.EXACT)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample before tokenization.

    Attributes:
        text: The rendered conversation.
        trained: Half-open character intervals that bear loss, sorted and disjoint.
        starts: Where the completions of trained turns start, in characters.
        turns: Spans and verdicts of the trained turns.
        origin: Where the sample comes from.
        roles: Roles of all messages of its row, also of those that unrolling cut off.
    """

    text: str
    trained: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    turns: tuple[TurnSpan, ...]
    origin: Origin
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Analysis:
    """A rendered conversation with its trained turns located."""

    render: TracedRender
    turns: tuple[TurnSpan, ...]


def read_conversation(row: RawRow, recipe: Recipe) -> Conversation:
    """Decode one row.

    Raises:
        RowError: It isn't JSON, or not a conversation.
    """
    return to_conversation(
        decode_row(row.data), input_format=recipe.input_format, tool_arguments=recipe.tool_arguments
    )


def analyse(template: ChatTemplate, conversation: Conversation, turns: Sequence[int]) -> Analysis:
    """Render a conversation and locate the given turns in it.

    Raises:
        RowError: The template refuses or fails on the whole conversation.
    """
    messages, tools = conversation.messages, conversation.tools
    full = template.trace(messages, tools)
    if not full.text.strip():
        raise RowError("IFT303", f"chat template {template.name} renders nothing for this conversation")
    spans = []
    for turn in turns:
        own = full if turn == len(messages) - 1 else _trace_or_none(template, messages[: turn + 1], tools)
        prompt = _trace_or_none(template, messages[:turn], tools, add_generation_prompt=True)
        spans.append(judge(full, own, prompt, turn, has_text=_has_text(messages[turn])))
    return Analysis(full, tuple(spans))


def _trace_or_none(
    template: ChatTemplate, messages: Sequence[Any], tools: Any, *, add_generation_prompt: bool = False
) -> TracedRender | None:
    """A render of a part of the conversation; None where the template refuses that part."""
    if not messages:
        return None
    try:
        return template.trace(messages, tools, add_generation_prompt=add_generation_prompt)
    except RowError:
        return None


def _has_text(message: dict[str, Any]) -> bool:
    return any(value for name, value in message.items() if name not in ("role", "name"))


class Preparer:
    """Turns rows into prepared samples under one recipe."""

    def __init__(self, recipe: Recipe, template: ChatTemplate) -> None:
        self._recipe = recipe
        self._template = template

    def prepare(self, row: RawRow) -> Iterator[Prepared]:
        """The samples of one row.

        Raises:
            RowError: The row is rejected (1xx-3xx), or there is nothing to train on (``IFT401``).
        """
        conversation = read_conversation(row, self._recipe)
        roles = tuple(message["role"] for message in conversation.messages)
        if self._recipe.train_on == "all-tokens":
            yield self._everything(row, conversation, roles)
            return
        turns = trained_turns(conversation, final_only=self._recipe.train_on == "final-turn")
        if not turns:
            raise RowError("IFT401", "the conversation has no turn to train on")
        if self._recipe.unroll == "always":
            for part in unrolled(conversation, turns, final_only=not self._recipe.train_history):
                turn = len(part.messages) - 1
                yield self._sample(row, part, trained_turns(part), turn=turn, roles=roles)
        else:
            yield self._sample(row, conversation, turns, turn=None, roles=roles)

    def _everything(self, row: RawRow, conversation: Conversation, roles: tuple[str, ...]) -> Prepared:
        text = self._template.render(conversation.messages, conversation.tools)
        if not text:
            raise RowError("IFT303", f"chat template {self._template.name} renders nothing for this conversation")
        origin = Origin(row.place, conversation.id, None, 0, "none")
        trained = ((0, len(text)),) if self._recipe.bears_loss else ()
        return Prepared(text, trained, (), (), origin, roles)

    def _sample(
        self,
        row: RawRow,
        conversation: Conversation,
        turns: Sequence[int],
        *,
        turn: int | None,
        roles: tuple[str, ...],
    ) -> Prepared:
        analysis = analyse(self._template, conversation, turns)
        trained = self._intervals(analysis, turns)
        verdicts = {span.verdict for span in analysis.turns}
        worst = next(verdict for verdict in _WORST_FIRST if verdict in verdicts)
        origin = Origin(row.place, conversation.id, turn, len(turns), worst.value)
        starts = tuple(span.intervals[0][0] for span in analysis.turns if span.intervals)
        return Prepared(analysis.render.text, trained, starts, analysis.turns, origin, roles)

    def _intervals(self, analysis: Analysis, turns: Sequence[int]) -> tuple[tuple[int, int], ...]:
        blocks = generation_spans(analysis.render) if self._recipe.spans != "completion" else []
        if blocks or self._recipe.spans == "generation":
            wanted = set(turns)
            spans = [(start, stop) for message, start, stop in blocks if message is None or message in wanted]
        else:
            spans = [interval for span in analysis.turns for interval in span.intervals]
        return merged(spans)


def merged(intervals: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorted, disjoint, non-empty intervals covering the same characters."""
    out: list[tuple[int, int]] = []
    for start, stop in sorted(intervals):
        if start >= stop:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return tuple(out)
