"""One input row → the texts to encode and the character intervals that bear loss."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from ifttool.arranging.draw import Chooser
from ifttool.errors import RowError
from ifttool.findings import CODES
from ifttool.formats import to_conversation
from ifttool.formats.plain import PlainReader
from ifttool.io.jsonl import decode_row
from ifttool.outline import Composition, Outline, Surrounding
from ifttool.policy import Policy, policy_for
from ifttool.prepared import Prepared
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import Origin
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, Layout
from ifttool.template.trajectory.memory import Arrangement
from ifttool.template.turns import Verdict
from ifttool.unrolling import unrolled


def read_conversation(row: RawRow, recipe: Recipe) -> Conversation:
    """Decode one row.

    Raises:
        RowError: It isn't JSON, or not a conversation.
    """
    return to_conversation(
        decode_row(row.data, terminated=row.terminated, most_keys=row.most_keys),
        input_format=recipe.input_format,
        tool_arguments=recipe.tool_arguments,
    )


# Sequences of roles of which it is remembered which turns they train; most data has some dozens.
_REMEMBERED = 4096


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
        use_plans: As for :class:`Analyser`.
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
        self._eos = eos
        self.analyser = Analyser(template, use_plans=use_plans, accepts=self._is_anchored)
        self.renders: Counter[str] = Counter()
        self._has_anchors = has_anchors
        self._everything = self._selection.everything and recipe.bears_loss
        self._may_unroll = recipe.unroll == "auto" or recipe.on_mismatch == "unroll"
        # An EOS is added, and inline reasoning found, by position.
        self._outlines = has_anchors is not None and not recipe.append_eos and recipe.train_reasoning
        reads_plain = self._outlines and recipe.unroll != "always" and recipe.input_format in ("auto", "messages")
        self._plain = PlainReader() if reads_plain else None
        self._turns_of = lru_cache(_REMEMBERED)(self._turns_by_role)

    def prepare(self, row: RawRow, chooser: Chooser | None = None) -> Sequence[Prepared | Outline]:
        """The samples of one row.

        Args:
            row: The row.
            chooser: Decides whether the row is taken; None takes it.

        Raises:
            RowError: The row is rejected (1xx-3xx), there is nothing to train on (``IFT401``), or it isn't taken
                (``IFT406``, ``IFT407``).
        """
        if chooser is None and (known := self._known(row)) is not None:
            return (known,)
        conversation = read_conversation(row, self._recipe)
        key = None if chooser is None else chooser.key(row.place, conversation)
        if self._selection.everything:
            return (self._sample(row, conversation, self._located(conversation, ()), (), key=key),)
        turns = self._selection.turns(conversation)
        if not turns:
            raise RowError("IFT401", "the conversation has no turn to train on")
        if self._recipe.unroll != "always":
            whole = self._located(conversation, turns)
            if not (self._may_unroll and whole.target.unrolls):
                return (self._sample(row, conversation, whole, turns, key=key),)
        parts = []
        for part in unrolled(conversation, turns, final_only=not self._recipe.train_history):
            own = self._selection.turns(part)
            located = self._located(part, own)
            parts.append(self._sample(row, part, located, own, turn=len(part.messages) - 1, key=key))
        return parts

    def _known(self, row: RawRow) -> Outline | None:
        """The sample of a plain chat of which all but the texts was worked out before; None for any other row."""
        if self._plain is None or (chat := self._plain.read(row)) is None:
            return None
        turns = self._turns_of(chat.roles)
        found = self.analyser.print_plain(chat, turns)
        if found is None:
            return None
        layout, text = found
        parts = self._single(self._policy(layout))
        if parts is None:
            return None
        self._plain.found_use()
        self.renders[self.analyser.way] += 1
        origin = Origin(row.place, chat.id, None, parts.trained, parts.verdict)

        def detail() -> Prepared:
            return self._detailed(row, read_conversation(row, self._recipe), turns)

        return Outline(text, parts, self._everything, origin, self._refusal(parts.mismatch), detail)

    def _single(self, policy: Policy) -> Composition | None:
        """A layout as the only part of its samples; None if their masks take positions, or there are more samples."""
        if self not in policy.derived:
            layout = policy.layout
            fits = self._is_anchored([layout]) and not (self._may_unroll and policy.unrolls)
            around = [] if self._selection.everything else [Surrounding(policy, 0)]
            parts = Composition.of(layout.roles, layout.verdicts, [layout], around) if fits else None
            policy.derived[self] = parts
        found: Composition | None = policy.derived[self]
        return found

    def _turns_by_role(self, roles: tuple[str, ...]) -> tuple[int, ...]:
        return () if self._selection.everything else tuple(self._selection.turns_of(roles))

    def _located(self, conversation: Conversation, turns: Sequence[int]) -> _Whole | _Composed:
        found = self.analyser.assemble(conversation, turns) if self._outlines else None
        if found is None:
            found = self.analyser.analyse(conversation, turns)
        self.renders[self.analyser.way] += 1
        if isinstance(found, Analysis):
            # A traced layout serves one row; keeping its policy in it would tie both into a cycle.
            of_many = self.analyser.way == "plan"
            return _Whole(found, self._policy(found.layout) if of_many else self._new_policy(found.layout))
        return _Composed(found.text, self._composition(found.arrangement))

    def _composition(self, arrangement: Arrangement) -> Composition:
        """What follows from how a conversation was put together."""
        found: Composition | None = arrangement.derived.get(self)
        if found is None:
            turns = arrangement.turns
            found = arrangement.derived[self] = Composition.of(
                arrangement.roles,
                [(placed.window.turn.verdict, placed.window.turn.ends) for placed in turns],
                [segment.layout for segment in arrangement.segments],
                [Surrounding(self._policy(placed.window.layout), placed.first) for placed in turns],
            )
        return found

    def _is_anchored(self, layouts: Sequence[Layout]) -> bool:
        """Whether what bears loss in some layouts can be found without positions."""
        has_anchors = self._has_anchors
        return has_anchors is not None and all(has_anchors(self._policy(layout)) for layout in layouts)

    def _policy(self, layout: Layout) -> Policy:
        """What bears loss: the same for every row of a layout."""
        policy: Policy | None = layout.derived.get(self)
        if policy is None:
            policy = layout.derived[self] = self._new_policy(layout)
        return policy

    def _new_policy(self, layout: Layout) -> Policy:
        return policy_for(layout, self._recipe, eos=self._eos)

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

        def detail() -> Prepared:
            return self._detailed(row, conversation, turns, turn=turn, key=key)

        return Outline(located.text, parts, self._everything, origin, self._refusal(parts.mismatch), detail)

    def _detailed(
        self,
        row: RawRow,
        conversation: Conversation,
        turns: Sequence[int],
        *,
        turn: int | None = None,
        key: str | None = None,
    ) -> Prepared:
        """A sample with its positions."""
        analysis = self.analyser.analyse(conversation, turns)
        whole = _Whole(analysis, self._new_policy(analysis.layout))
        return self._prepared(row, conversation, whole, turn=turn, key=key)

    def _prepared(
        self, row: RawRow, conversation: Conversation, whole: _Whole, *, turn: int | None, key: str | None
    ) -> Prepared:
        analysis, policy = whole.analysis, whole.target
        if policy.appended is not None:
            index, eos = policy.appended
            analysis = Analysis(policy.layout, [*analysis.texts[:index], eos, *analysis.texts[index:]])
        origin = Origin(row.place, conversation.id, turn, len(policy.turns), policy.verdict, conversation=key)
        return Prepared(analysis, analysis.text, policy, origin, self._refusal(policy.mismatch))

    def _refusal(self, mismatch: Verdict | None) -> RowError | None:
        """What the recipe says to a verdict it doesn't accept.

        Raises:
            RowError: With ``--on-mismatch error`` the whole row is rejected.
        """
        if mismatch is None:
            return None
        code = mismatch.code
        assert code is not None
        error = RowError(
            code,
            f"{CODES[code]} (verdict {mismatch.value})",
            hint="ifttool templates doctor explains verdicts; --unroll auto repairs history",
        )
        if self._recipe.on_mismatch == "error":
            raise error
        return error
