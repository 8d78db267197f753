"""What bears loss in layouts and in what is put together from them, each worked out once under one recipe."""

from collections.abc import Callable, Iterable

from ifttool.errors import RowError
from ifttool.findings import CODES
from ifttool.preparing.outline import Composition, Surrounding
from ifttool.preparing.policy import Policy, policy_for
from ifttool.recipe import Recipe
from ifttool.template.layout import Layout
from ifttool.template.trajectory.memory import Arrangement
from ifttool.template.turns import Verdict


class Policies:
    """Policies under one recipe. What is worked out is kept with the layouts.

    Args:
        recipe: The options.
        by_blocks: Whether the template's generation blocks decide about turns of the model.
        eos: Text of the tokenizer's EOS token, if it has one.
        has_anchors: Whether the mask of a policy can be found without positions; None if none can.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        by_blocks: bool,
        eos: str | None = None,
        has_anchors: Callable[[Policy], bool] | None = None,
    ) -> None:
        self._recipe, self._by_blocks, self._eos, self._has_anchors = recipe, by_blocks, eos, has_anchors
        self._may_unroll = recipe.unroll == "auto" or recipe.on_mismatch == "unroll"

    def new(self, layout: Layout) -> Policy:
        """What bears loss in a layout of one row; kept in it, the policy would tie both into a cycle."""
        return policy_for(layout, self._recipe, by_blocks=self._by_blocks, eos=self._eos)

    def of(self, layout: Layout) -> Policy:
        """What bears loss in a layout that many rows share."""
        policy: Policy | None = layout.derived.get(self)
        if policy is None:
            policy = layout.derived[self] = self.new(layout)
        return policy

    def are_anchored(self, layouts: Iterable[Layout]) -> bool:
        """Whether what bears loss in some layouts can be found without positions."""
        has_anchors = self._has_anchors
        return has_anchors is not None and all(has_anchors(self.of(layout)) for layout in layouts)

    def unrolls(self, target: Policy | Composition) -> bool:
        """Whether a conversation is to be unrolled instead."""
        return self._may_unroll and target.unrolls

    def composed(self, arrangement: Arrangement) -> Composition:
        """What follows from how a conversation was put together."""
        found: Composition | None = arrangement.derived.get(self)
        if found is None:
            turns = arrangement.turns
            found = arrangement.derived[self] = Composition.of(
                arrangement.roles,
                [(placed.window.turn.verdict, placed.window.turn.ends) for placed in turns],
                [segment.layout for segment in arrangement.segments],
                [Surrounding(self.of(placed.window.layout), placed.first) for placed in turns],
            )
        return found

    def alone(self, layout: Layout) -> Composition | None:
        """A layout as the only part of its samples; None if their masks take positions, or there are more samples."""
        policy = self.of(layout)
        if not self.are_anchored([layout]) or self.unrolls(policy):
            return None
        around = [] if self._recipe.selection.everything else [Surrounding(policy, 0)]
        return Composition.of(layout.roles, layout.verdicts, [layout], around)

    def refusal(self, mismatch: Verdict | None) -> RowError | None:
        """What the recipe says to a verdict it doesn't accept.

        Raises:
            RowError: With ``--on-mismatch error`` the whole row is rejected.
        """
        if mismatch is None:
            return None
        code = mismatch.code
        assert code is not None
        # Unrolling helps where later messages change a turn, not where its own prompt isn't what precedes it.
        way = (
            "--unroll auto repairs this" if mismatch is Verdict.HISTORY else "--on-mismatch mask masks such turns only"
        )
        hint = f"ifttool templates doctor says why; {way}"
        error = RowError(code, f"{CODES[code]} (verdict {mismatch.value})", hint=hint)
        if self._recipe.on_mismatch == "error":
            raise error
        return error
