"""One input row → the texts to encode and the character intervals that bear loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from ifttool.errors import RowError
from ifttool.findings import CODES
from ifttool.formats import to_conversation
from ifttool.io.jsonl import decode_row
from ifttool.policy import Policy, policy_for
from ifttool.reasoning import reasoning_interval, subtract
from ifttool.recipe import Recipe
from ifttool.records import Conversation, Interval, RawRow
from ifttool.samples import Origin
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, Layout
from ifttool.unrolling import unrolled


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample before tokenization.

    Attributes:
        analysis: The rendered conversation with its turns located.
        text: The rendered text.
        positions: First character of each piece, and the length of the text.
        policy: What bears loss in its layout.
        trained: Half-open character intervals that bear loss, sorted and disjoint.
        turns: First character of each trained turn, and one past its last.
        origin: Where the sample comes from.
        refused: Why the recipe leaves this sample out; None if it doesn't.
    """

    analysis: Analysis
    text: str
    positions: Sequence[int]
    policy: Policy
    trained: Sequence[Interval]
    turns: Sequence[Interval]
    origin: Origin
    refused: RowError | None = None

    @property
    def starts(self) -> list[int]:
        """Where the completions of trained turns start, in characters."""
        return [start for start, _ in self.turns]


def read_conversation(row: RawRow, recipe: Recipe) -> Conversation:
    """Decode one row.

    Raises:
        RowError: It isn't JSON, or not a conversation.
    """
    return to_conversation(
        decode_row(row.data, terminated=row.terminated),
        input_format=recipe.input_format,
        tool_arguments=recipe.tool_arguments,
    )


class Preparer:
    """Turns rows into prepared samples under one recipe.

    Args:
        recipe: The options.
        template: The chat template.
        eos: Text of the tokenizer's EOS token, if it has one.
    """

    def __init__(self, recipe: Recipe, template: ChatTemplate, *, eos: str | None = None) -> None:
        self._recipe = recipe
        self._selection = recipe.selection
        self._eos = eos
        self.analyser = Analyser(template)
        # What bears loss is the same for every row of a layout; layouts live as long as their plans.
        self._policies: WeakKeyDictionary[Layout, Policy] = WeakKeyDictionary()

    def prepare(self, row: RawRow) -> Iterator[Prepared]:
        """The samples of one row.

        Raises:
            RowError: The row is rejected (1xx-3xx), or there is nothing to train on (``IFT401``).
        """
        conversation = read_conversation(row, self._recipe)
        if self._selection.everything:
            yield self._sample(row, conversation, self._located(conversation, ()), turn=None)
            return
        turns = self._selection.turns(conversation)
        if not turns:
            raise RowError("IFT401", "the conversation has no turn to train on")
        if self._recipe.unroll != "always":
            whole = self._located(conversation, turns)
            if not whole[1].unrolls:
                yield self._sample(row, conversation, whole, turn=None)
                return
        for part in unrolled(conversation, turns, final_only=not self._recipe.train_history):
            located = self._located(part, self._selection.turns(part))
            yield self._sample(row, part, located, turn=len(part.messages) - 1)

    def _located(self, conversation: Conversation, turns: Sequence[int]) -> tuple[Analysis, Policy]:
        analysis = self.analyser.analyse(conversation, turns)
        policy = self._policies.get(analysis.layout)
        if policy is None:
            policy = self._policies[analysis.layout] = policy_for(analysis.layout, self._recipe, eos=self._eos)
        return analysis, policy

    def _sample(
        self,
        row: RawRow,
        conversation: Conversation,
        located: tuple[Analysis, Policy],
        *,
        turn: int | None,
    ) -> Prepared:
        analysis, policy = located
        if policy.appended is not None:
            index, eos = policy.appended
            analysis = Analysis(policy.layout, [*analysis.texts[:index], eos, *analysis.texts[index:]])
        text = analysis.text
        at = analysis.positions()
        trained = [(at[low], at[high]) for low, high in policy.trained if at[low] < at[high]]
        for low, high in policy.reasoning:
            thought = reasoning_interval(text, at[low], at[high])
            trained = subtract(trained, () if thought is None else (thought,))
        turns = [(at[low], at[high]) for low, high in policy.turns]
        origin = Origin(row.place, conversation.id, turn, len(turns), policy.verdict)
        return Prepared(analysis, text, at, policy, trained, turns, origin, self._refusal(policy))

    def _refusal(self, policy: Policy) -> RowError | None:
        """What the recipe says to a verdict it doesn't accept.

        Raises:
            RowError: With ``--on-mismatch error`` the whole row is rejected.
        """
        if policy.mismatch is None:
            return None
        code = policy.mismatch.code
        assert code is not None
        error = RowError(
            code,
            f"{CODES[code]} (verdict {policy.mismatch.value})",
            hint="ifttool templates doctor explains verdicts; --unroll auto repairs history",
        )
        if self._recipe.on_mismatch == "error":
            raise error
        return error
