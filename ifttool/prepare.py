"""One input row → the texts to encode and the character intervals that bear loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from ifttool.errors import RowError
from ifttool.formats import to_conversation
from ifttool.io.jsonl import decode_row
from ifttool.policy import Policy, policy_for
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import Origin
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, Layout
from ifttool.unroll import trained_turns, unrolled


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample before tokenization.

    Attributes:
        analysis: The rendered conversation with its turns located.
        text: The rendered text.
        trained: Half-open character intervals that bear loss, sorted and disjoint.
        starts: Where the completions of trained turns start, in characters.
        origin: Where the sample comes from.
    """

    analysis: Analysis
    text: str
    trained: Sequence[tuple[int, int]]
    starts: Sequence[int]
    origin: Origin


def read_conversation(row: RawRow, recipe: Recipe) -> Conversation:
    """Decode one row.

    Raises:
        RowError: It isn't JSON, or not a conversation.
    """
    return to_conversation(
        decode_row(row.data), input_format=recipe.input_format, tool_arguments=recipe.tool_arguments
    )


class Preparer:
    """Turns rows into prepared samples under one recipe."""

    def __init__(self, recipe: Recipe, template: ChatTemplate) -> None:
        self._recipe = recipe
        self.analyser = Analyser(template)
        # What bears loss is the same for every row of a layout; layouts live as long as their plans.
        self._policies: WeakKeyDictionary[Layout, Policy] = WeakKeyDictionary()

    def prepare(self, row: RawRow) -> Iterator[Prepared]:
        """The samples of one row.

        Raises:
            RowError: The row is rejected (1xx-3xx), or there is nothing to train on (``IFT401``).
        """
        recipe = self._recipe
        conversation = read_conversation(row, recipe)
        if recipe.train_on == "all-tokens":
            yield self._sample(row, conversation, (), turn=None)
            return
        turns = trained_turns(conversation, final_only=recipe.train_on == "final-turn")
        if not turns:
            raise RowError("IFT401", "the conversation has no turn to train on")
        if recipe.unroll == "always":
            for part in unrolled(conversation, turns, final_only=not recipe.train_history):
                yield self._sample(row, part, trained_turns(part), turn=len(part.messages) - 1)
        else:
            yield self._sample(row, conversation, turns, turn=None)

    def _sample(
        self, row: RawRow, conversation: Conversation, turns: Sequence[int], *, turn: int | None
    ) -> Prepared:
        analysis = self.analyser.analyse(conversation, turns)
        policy = self._policies.get(analysis.layout)
        if policy is None:
            policy = self._policies[analysis.layout] = policy_for(analysis.layout, self._recipe)
        at = analysis.positions()
        trained = [(at[low], at[high]) for low, high in policy.trained if at[low] < at[high]]
        starts = [at[start] for start in policy.starts]
        origin = Origin(row.place, conversation.id, turn, len(turns), policy.verdict)
        return Prepared(analysis, analysis.text, trained, starts, origin)
