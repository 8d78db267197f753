"""One input row → the texts to encode and the character intervals that bear loss."""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from ifttool.arranging.draw import Chooser
from ifttool.errors import RowError
from ifttool.findings import CODES
from ifttool.formats import to_conversation
from ifttool.io.jsonl import decode_row
from ifttool.outline import Composition, Outline, Surrounding, worst
from ifttool.policy import Policy, policy_for
from ifttool.prepared import Prepared
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import Origin
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, Layout
from ifttool.template.trajectory.memory import Arrangement, Assembled
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


class _Common(msgspec.Struct, frozen=True, gc=False):
    """What samples have in common that are put together in the same way.

    Attributes:
        policies: The policy of each turn's surroundings.
        composition: What the text is put together from.
        trained: How many turns are trained.
        verdict: The worst verdict, or ``none``.
        mismatch: The worst verdict that the recipe refuses; None if there is none.
    """

    policies: tuple[Policy, ...]
    composition: Composition
    trained: int
    verdict: str
    mismatch: Verdict | None


class _Located(msgspec.Struct, frozen=True, gc=False):
    """A conversation with its turns located, as a whole or in parts, and the policy of each layout."""

    turns: Sequence[int]
    found: Analysis | Assembled
    policies: tuple[Policy, ...]


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
        self._may_unroll = recipe.unroll == "auto" or recipe.on_mismatch == "unroll"
        # An EOS is added, and inline reasoning found, by position.
        self._outlines = has_anchors is not None and not recipe.append_eos and recipe.train_reasoning

    def prepare(self, row: RawRow, chooser: Chooser | None = None) -> Sequence[Prepared | Outline]:
        """The samples of one row.

        Args:
            row: The row.
            chooser: Decides whether the row is taken; None takes it.

        Raises:
            RowError: The row is rejected (1xx-3xx), there is nothing to train on (``IFT401``), or it isn't taken
                (``IFT406``, ``IFT407``).
        """
        conversation = read_conversation(row, self._recipe)
        key = None if chooser is None else chooser.key(row.place, conversation)
        if self._selection.everything:
            return (self._sample(row, conversation, self._located(conversation, ()), turn=None, key=key),)
        turns = self._selection.turns(conversation)
        if not turns:
            raise RowError("IFT401", "the conversation has no turn to train on")
        if self._recipe.unroll != "always":
            whole = self._located(conversation, turns)
            if not (self._may_unroll and any(policy.unrolls for policy in whole.policies)):
                return (self._sample(row, conversation, whole, turn=None, key=key),)
        parts = []
        for part in unrolled(conversation, turns, final_only=not self._recipe.train_history):
            located = self._located(part, self._selection.turns(part))
            parts.append(self._sample(row, part, located, turn=len(part.messages) - 1, key=key))
        return parts

    def _located(self, conversation: Conversation, turns: Sequence[int]) -> "_Located":
        found = self.analyser.assemble(conversation, turns) if self._outlines else None
        if found is None:
            found = self.analyser.analyse(conversation, turns)
        self.renders[self.analyser.way] += 1
        if isinstance(found, Analysis):
            # A traced layout serves one row; keeping its policy in it would tie both into a cycle.
            of_many = self.analyser.way == "plan"
            return _Located(turns, found, (self._policy(found.layout) if of_many else self._new_policy(found.layout),))
        return _Located(turns, found, self._common(found.arrangement).policies)

    def _common(self, arrangement: Arrangement) -> _Common:
        """What follows from how a conversation was put together."""
        common: _Common | None = arrangement.derived.get(self)
        if common is None:
            common = arrangement.derived[self] = self._new_common(arrangement)
        return common

    def _new_common(self, arrangement: Arrangement) -> _Common:
        turns = arrangement.turns
        policies = tuple([self._policy(placed.window.layout) for placed in turns])
        verdicts = [(placed.window.turn.verdict, placed.window.turn.ends) for placed in turns]
        verdict = worst([verdict for verdict, _ in verdicts])
        composition = Composition(
            arrangement.roles,
            verdicts,
            [segment.layout for segment in arrangement.segments],
            [Surrounding(policy, placed.first) for policy, placed in zip(policies, turns, strict=True)],
        )
        return _Common(
            policies,
            composition,
            sum(len(policy.turns) for policy in policies),
            "none" if verdict is None else verdict.value,
            worst([policy.mismatch for policy in policies if policy.mismatch is not None]),
        )

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
        self, row: RawRow, conversation: Conversation, located: "_Located", *, turn: int | None, key: str | None
    ) -> Prepared | Outline:
        found = located.found
        if isinstance(found, Analysis):
            return self._prepared(row, conversation, found, located.policies[0], turn=turn, key=key)
        common = self._common(found.arrangement)
        origin = Origin(row.place, conversation.id, turn, common.trained, common.verdict, conversation=key)

        def detail() -> Prepared:
            analysis = self.analyser.analyse(conversation, located.turns)
            return self._prepared(row, conversation, analysis, self._new_policy(analysis.layout), turn=turn, key=key)

        return Outline(
            found.text,
            common.composition,
            self._selection.everything and self._recipe.bears_loss,
            origin,
            self._refusal(common.mismatch),
            detail,
        )

    def _prepared(
        self,
        row: RawRow,
        conversation: Conversation,
        analysis: Analysis,
        policy: Policy,
        *,
        turn: int | None,
        key: str | None,
    ) -> Prepared:
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
