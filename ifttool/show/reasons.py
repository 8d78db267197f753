"""Why a piece of a render is trained or not, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from ifttool.preparing.prepared import Prepared
from ifttool.recipe import Recipe
from ifttool.template.layout import Label
from ifttool.template.turns import Verdict

_OF_NO_MESSAGE = {"tools": "prompt: tools", "kwargs": "prompt: template variable"}
AFTER_TURN = "white space after the end-of-turn token"


@dataclass(frozen=True, slots=True)
class Reasons:
    """Words for the pieces of one sample.

    Attributes:
        prepared: The sample.
        recipe: The options it was made with.
        flags: The row's own training flag of each message, as ``Conversation.train``.
        by_length: First characters of turns that ``turn_tokens`` takes out.
    """

    prepared: Prepared
    recipe: Recipe
    flags: Sequence[bool | None]
    by_length: frozenset[int]

    def of_piece(self, index: int, *, trained: bool) -> str:
        """Why piece ``index`` is trained or not."""
        label = self.prepared.analysis.layout.labels[index]
        if trained:
            return self._trained(label)
        if not self.recipe.bears_loss:
            return "nothing bears loss in this run"
        if label.turn >= 0:
            return self._left_out(index, label)
        turn = self._turn_after(index)
        if turn is not None and label.kind in ("scaffold", "header"):
            return self._before_turn(turn)
        if label.message >= 0:
            return self._of_message(label)
        return _OF_NO_MESSAGE.get(label.kind) or self._of_template(index)

    def _trained(self, label: Label) -> str:
        if self.recipe.selection.everything:
            return "every token is trained"
        if self._tags_decide(label):
            return "inside the template's generation tags"
        if label.kind == "end_of_turn":
            return f"end-of-turn token of {self._turn(label.turn)}"
        return f"completion of {self._turn(label.turn)}"

    def _left_out(self, index: int, label: Label) -> str:
        """Why a piece inside a completion doesn't bear loss."""
        recipe, layout = self.recipe, self.prepared.analysis.layout
        turn = next(turn for turn in layout.turns if turn.message == label.turn)
        if recipe.on_mismatch == "mask" and turn.verdict != Verdict.EXACT:
            return f"masked: verdict {turn.verdict.value} of {self._turn(label.turn)}"
        if self.prepared.positions[turn.runs[0][0]] in self.by_length:
            return f"masked: {self._turn(label.turn)} is outside turn-tokens"
        if self._tags_decide(label) and layout.blocks[index] < 0:
            return "masked: outside the template's generation tags"
        if label.kind == "end_of_turn" and not recipe.train_end_of_turn:
            return "masked: end-of-turn tokens aren't trained"
        if label.kind == "tool_call" or (recipe.train_reasoning and not recipe.train_tool_calls):
            return "masked: tool calls aren't trained"
        return "masked: reasoning isn't trained"

    def _before_turn(self, turn: int) -> str:
        verdicts = {turn.message: turn.verdict for turn in self.prepared.analysis.layout.turns}
        if verdicts[turn] == Verdict.PROMPT:
            return f"precedes {self._turn(turn)}, but isn't its generation prompt"
        return f"generation prompt of {self._turn(turn)}"

    def _of_message(self, label: Label) -> str:
        """Why text of a message outside of every completion doesn't bear loss."""
        message, selection = label.message, self.recipe.selection
        prepared = self.prepared
        role = prepared.analysis.layout.roles[message]
        if any(turn.message == message for turn in prepared.analysis.layout.turns):
            return f"outside the completion of {self._turn(message)}"
        flag = self.flags[message] if self.flags else None
        wanted = role in selection.roles if flag is None else flag
        if role in selection.roles and flag is False:
            return "masked: flag train=false"
        if wanted and prepared.origin.turn is not None and message < prepared.origin.turn:
            return f"masked: history of {self._turn(prepared.origin.turn)}, unrolled"
        if wanted and selection.last is not None:
            last = "the final turn" if selection.last == 1 else f"one of the last {selection.last} turns"
            return f"masked: not {last}"
        return f"prompt: message {message} ({role})"

    def _of_template(self, index: int) -> str:
        """Where text of the template stands among the messages."""
        layout = self.prepared.analysis.layout
        if layout.lost:
            return "prompt: not followed through the template, outside the located turns"
        messages = [max(label.message, label.turn) for label in layout.labels]
        before = next((message for message in reversed(messages[:index]) if message >= 0), None)
        after = next((message for message in messages[index:] if message >= 0), None)
        if before == after:
            where = "" if before is None else f" in message {before}"
        elif before is None:
            where = f" before message {after}"
        else:
            where = f" after message {before}" if after is None else f" between messages {before} and {after}"
        return f"prompt: template text{where}"

    def _tags_decide(self, label: Label) -> bool:
        """Whether the template's generation tags decide about the turn of a piece, or around it."""
        prepared = self.prepared
        return prepared.policy.blocks and (label.turn < 0 or prepared.analysis.layout.is_by_model(label.turn))

    def _turn(self, message: int) -> str:
        return f"turn {message} ({self.prepared.analysis.layout.roles[message]})"

    def _turn_after(self, index: int) -> int | None:
        """The turn whose completion comes next, if only text of the template or its header lies between."""
        labels = self.prepared.analysis.layout.labels
        headers: set[int] = set()
        for label in labels[index:]:
            if label.turn >= 0:
                return label.turn if headers <= {label.turn} else None
            if label.kind == "header":
                headers.add(label.message)
            elif label.kind != "scaffold":
                return None
        return None
