"""One input row → the texts to encode and the character intervals that bear loss."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat

import msgspec

from ifttool.arranging.draw import Chooser
from ifttool.errors import RowError
from ifttool.preparing.lost_parts import refuse_lost_parts
from ifttool.preparing.outline import Composition, Outline
from ifttool.preparing.plain_ways import PlainWays
from ifttool.preparing.policies import Policies
from ifttool.preparing.policy import Policy
from ifttool.preparing.prepared import Prepared
from ifttool.preparing.reading import RowReader, read_conversation
from ifttool.preparing.unrolling import unrolled
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import Origin
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis

# Roles come from the data: they may be anything, and many.
_SHOWN_ROLES = 60


def _roles(conversation: Conversation) -> str:
    """The different roles of a conversation, to be shown."""
    roles = ", ".join(dict.fromkeys(message["role"] for message in conversation.messages))
    return roles if len(roles) <= _SHOWN_ROLES else f"{roles[:_SHOWN_ROLES]}…"


class _Whole(msgspec.Struct, frozen=True, gc=False):
    """A conversation rendered as a whole, and what bears loss in it."""

    analysis: Analysis
    target: Policy


class _Composed(msgspec.Struct, frozen=True, gc=False):
    """A conversation put together from parts, and what bears loss around its turns."""

    text: str
    target: Composition


class Preparer:
    """Turns rows into prepared samples under one recipe.

    Args:
        recipe: The options.
        template: The chat template.
        eos: Text of the tokenizer's EOS token, if it has one.
        use_plans: As for :class:`Analyser`; also whether anything else is remembered from row to row.
        has_anchors: Whether the mask of a policy can be found without positions. Given, samples may be outlines.

    Attributes:
        analyser: Renders conversations and locates turns.
        renders: How conversations were rendered, by :attr:`Analyser.way`.
    """

    def __init__(
        self,
        recipe: Recipe,
        template: ChatTemplate,
        *,
        eos: str | None = None,
        use_plans: bool = True,
        has_anchors: Callable[[Policy], bool] | None = None,
    ) -> None:
        self._recipe = recipe
        self._selection = recipe.selection
        by_blocks = recipe.spans == "generation" or (recipe.spans == "auto" and template.has_generation_tags)
        self._policies = Policies(recipe, by_blocks=by_blocks, eos=eos, has_anchors=has_anchors)
        self.analyser = Analyser(template, use_plans=use_plans, accepts=self._policies.are_anchored)
        self.renders: Counter[str] = Counter()
        self._read = RowReader(recipe).read if use_plans else partial(read_conversation, recipe=recipe)
        self._everything = self._selection.everything and recipe.bears_loss
        # An EOS is added, and inline reasoning found, by position.
        self._outlines = has_anchors is not None and not recipe.append_eos and recipe.train_reasoning
        reads_plain = self._outlines and recipe.unroll != "always" and recipe.input_format in ("auto", "messages")
        self._plain = PlainWays(recipe, self.analyser, self._policies, self._detailed) if reads_plain else None

    def prepare_each(
        self, rows: Sequence[RawRow], chooser: Chooser | None = None
    ) -> Iterator[Sequence[Prepared | Outline] | RowError]:
        """What :meth:`prepare` gives for each of some rows, or raises; plain chats take the shorter way."""
        plain = self._plain if chooser is None else None
        for row, outline in zip(rows, repeat(None) if plain is None else plain.outlines(rows), strict=False):
            if outline is not None:
                self.renders["plan"] += 1
                yield (outline,)
                continue
            try:
                yield self.prepare(row, chooser)
            except RowError as error:
                yield error

    def prepare(self, row: RawRow, chooser: Chooser | None = None) -> Sequence[Prepared | Outline]:
        """The samples of one row.

        Args:
            row: The row.
            chooser: Decides whether the row is taken; None takes it.

        Raises:
            RowError: The row is rejected (1xx-3xx), there is nothing to train on (``IFT401``), or it isn't taken
                (``IFT406``, ``IFT407``).
        """
        conversation = self._read(row)
        key = None if chooser is None else chooser.key(row.place, conversation)
        if self._selection.everything:
            return (self._sample(row, conversation, self._located(conversation, ()), (), key=key),)
        turns = self._selection.turns(conversation)
        if not turns:
            raise RowError("IFT401", f"the conversation has no turn to train on: its roles are {_roles(conversation)}")
        if self._recipe.unroll != "always":
            whole = self._located(conversation, turns)
            if not self._policies.unrolls(whole.target):
                return (self._sample(row, conversation, whole, turns, key=key),)
        parts = []
        for part in unrolled(conversation, turns, final_only=not self._recipe.train_history):
            own = self._selection.turns(part)
            located = self._located(part, own)
            parts.append(self._sample(row, part, located, own, turn=len(part.messages) - 1, key=key))
        return parts

    def _located(self, conversation: Conversation, turns: Sequence[int]) -> _Whole | _Composed:
        found = self.analyser.assemble(conversation, turns) if self._outlines else None
        if found is None:
            found = self.analyser.analyse(conversation, turns)
        self.renders[self.analyser.way] += 1
        refuse_lost_parts(conversation.messages, found.text)
        if isinstance(found, Analysis):
            of_many = self.analyser.way == "plan"
            return _Whole(found, self._policies.of(found.layout) if of_many else self._policies.new(found.layout))
        return _Composed(found.text, self._policies.composed(found.arrangement))

    def _sample(
        self,
        row: RawRow,
        conversation: Conversation,
        located: _Whole | _Composed,
        turns: Sequence[int],
        *,
        turn: int | None = None,
        key: str | None,
    ) -> Prepared | Outline:
        if isinstance(located, _Whole):
            return self._prepared(row, conversation, located, turn=turn, key=key)
        parts = located.target
        origin = Origin(row.place, conversation.id, turn, parts.trained, parts.verdict, conversation=key)

        # Read from the row once more: few samples need it, and a decoded conversation takes three times its bytes.
        detail = partial(self._detailed, row, turns, turn=turn, key=key)
        return Outline(located.text, parts, self._everything, origin, self._policies.refusal(parts.mismatch), detail)

    def _detailed(
        self, row: RawRow, turns: Sequence[int], *, turn: int | None = None, key: str | None = None
    ) -> Prepared:
        """The sample of a row, or of one of its turns, with its positions."""
        conversation = self._read(row)
        if turn is not None:
            (conversation,) = unrolled(conversation, [turn], final_only=not self._recipe.train_history)
        analysis = self.analyser.analyse(conversation, turns)
        whole = _Whole(analysis, self._policies.new(analysis.layout))
        return self._prepared(row, conversation, whole, turn=turn, key=key)

    def _prepared(
        self, row: RawRow, conversation: Conversation, whole: _Whole, *, turn: int | None, key: str | None
    ) -> Prepared:
        analysis, policy = whole.analysis, whole.target
        if policy.appended is not None:
            index, eos = policy.appended
            analysis = Analysis(policy.layout, [*analysis.texts[:index], eos, *analysis.texts[index:]])
        origin = Origin(row.place, conversation.id, turn, len(policy.turns), policy.verdict, conversation=key)
        untold = [*conversation.strings()] if analysis.layout.lost else ()
        return Prepared(analysis, analysis.text, policy, origin, self._policies.refusal(policy.mismatch), untold)
