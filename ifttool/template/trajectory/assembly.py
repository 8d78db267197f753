"""Conversations put together from segments, with their turns located."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from ifttool.records import Conversation, Message
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis
from ifttool.template.symbols import Guard, Piece, Structure
from ifttool.template.trajectory.beginnings import Beginnings
from ifttool.template.trajectory.flatten import flat_guards, flat_pieces
from ifttool.template.trajectory.memory import Assembled, Memory, Seen, arranged
from ifttool.template.trajectory.program import Program, Row, UnfollowedError, Unknown
from ifttool.template.trajectory.walk import numbered, speaking, walk
from ifttool.template.trajectory.window import Windows

# Renders recorded for one row before it goes the slower way.
_MOST_LESSONS = 400


class Examined(NamedTuple):
    """What a conversation was put together from.

    Attributes:
        assembled: The conversation.
        pieces: What it prints, with messages by their numbers.
        guards: What has to hold for another one with messages of the same kinds to be put together in the same way.
    """

    assembled: Assembled
    pieces: Sequence[Piece]
    guards: Sequence[Guard | Structure]


class Assembler:
    """Puts conversations of one template together.

    Args:
        template: The chat template.

    Attributes:
        taught: From how many messages of the last conversation something was learnt, each time.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._program = Program(template)
        self._windows = Windows(self._program)
        self.taught: list[int] = []

    @property
    def can_follow(self) -> bool:
        """Whether the template has a loop that can be followed."""
        return self._program.has_loops

    @property
    def generation(self) -> int:
        """Grows with everything that is learnt."""
        return self._program.generation + self._windows.judged

    @property
    def fresh(self) -> Sequence[int]:
        """Turns of the last conversation whose surroundings were new."""
        return tuple(self._windows.fresh)

    def assemble(
        self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int], memory: Memory | None = None
    ) -> Assembled:
        """Render a conversation and locate the given turns in it, learning what is needed.

        Args:
            conversation: The conversation.
            kinds: The number of each message's kind.
            turns: Messages of the turns.
            memory: What is remembered of conversations with these kinds of messages, turns, and tools or none.

        Raises:
            UnfollowedError: It can't be put together; whether the template refuses it isn't known.
        """
        row = Row(conversation.messages, conversation.tools, self._template.kwargs, kinds)
        self._windows.fresh.clear()
        self.taught.clear()
        found = None if memory is None else memory.repeated(self._program, self._windows, row)
        if found is not None:
            return found
        for _ in range(_MOST_LESSONS):
            try:
                return self._assemble(row, turns, memory)
            except Unknown as lesson:
                self._learn(row, turns, lesson)
        raise UnfollowedError("the row needs too many lessons")

    def _learn(self, row: Row, turns: Sequence[int], lesson: Unknown) -> None:
        """Learn a segment that is missing, from few messages if it stands outside of loops, as lists of tools do."""
        some = opening(row.messages, turns)
        if lesson.item < 0 and some < lesson.count:
            # If they can't be followed, or teach nothing new, all that were asked for may do better.
            with suppress(UnfollowedError):
                self._program.learn(row, some, lesson.asks)
                self.taught.append(some)
                return
        self._program.learn(row, lesson.count, lesson.asks)
        self.taught.append(lesson.count)

    def examine(self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int]) -> Examined | None:
        """Put a conversation together once more, and tell what that depends on; None if it can't be told.

        Raises:
            UnfollowedError: It can't be put together.
        """
        row = Row(conversation.messages, conversation.tools, self._template.kwargs, kinds)
        try:
            seen = self._watched(row, turns)
        except Unknown:
            return None
        if seen.compared or not all(placed.window.holds for placed in seen.turns):
            return None
        at = [(placed.window.guards, placed.message) for placed in seen.turns]
        guards = tuple(dict.fromkeys(flat_guards(row, seen.consulted, at)))
        return Examined(_put_together(row, seen), flat_pieces(row, seen.stages), guards)

    def _assemble(self, row: Row, turns: Sequence[int], memory: Memory | None) -> Assembled:
        if memory is None or not memory.is_curious or not turns:
            return _put_together(row, self._seen(row, turns))
        seen = self._watched(row, turns)
        memory.remember(row, seen)
        return _put_together(row, seen)

    def _seen(self, row: Row, turns: Sequence[int]) -> Seen:
        stages = walk(self._program, row, len(row.messages), asks=False)
        beginnings = Beginnings(self._program, row, stages) if turns else None
        placed = [self._windows.place(row, beginnings, turn) for turn in turns] if beginnings is not None else []
        return Seen(stages, beginnings, placed)

    def _watched(self, row: Row, turns: Sequence[int]) -> Seen:
        """The same, with everything that was asked for."""
        program = self._program
        program.consulted, program.compared = [], False
        try:
            seen = self._seen(row, turns)
            return seen._replace(consulted=program.consulted, compared=program.compared)
        finally:
            program.consulted = None

    def located(self, conversation: Conversation, kinds: Sequence[int], assembled: Assembled) -> list[Analysis]:
        """The surroundings of each turn with the texts of their pieces; for checks, not for the fast way."""
        messages, tools, kwargs = conversation.messages, conversation.tools, self._template.kwargs
        return [
            Analysis(
                placed.window.layout,
                placed.window.texts(messages, tools, kwargs, kinds, {}, placed.message, len(messages), False),
            )
            for placed in assembled.arrangement.turns
        ]


def opening(messages: Sequence[Message], turns: Sequence[int]) -> int:
    """How many messages from the first hold one of every role, and a turn that is history if there are two questions.

    All of them if it were more than half: two conversations cost more to look at than they save.

    Args:
        messages: The messages.
        turns: Messages of the turns.
    """
    firsts: dict[str, int] = {}
    for index, message in enumerate(messages):
        firsts.setdefault(message["role"], index)
    asked = [index for index, message in enumerate(messages) if message["role"] == "user"][:2]
    least = max([*firsts.values(), *asked, *turns[:1]])
    count = next((turn + 1 for turn in turns if turn > least), len(messages))
    return count if 2 * count <= len(messages) else len(messages)


def _put_together(row: Row, seen: Seen) -> Assembled:
    parts = list(numbered(seen.stages if seen.beginnings is None else speaking(seen.stages)))
    text = "".join([text for _, text in parts])
    if not text.strip():
        raise UnfollowedError("nothing is rendered")
    arrangement = arranged(row, [segment for segment, _ in parts], seen.turns)
    return Assembled(arrangement, text, [text for _, text in parts])
