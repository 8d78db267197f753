"""Conversations put together from segments, with their turns located."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ifttool.records import Conversation
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis
from ifttool.template.symbols import Guard, Piece, Structure
from ifttool.template.trajectory.beginnings import Beginnings
from ifttool.template.trajectory.flatten import flat_guards, flat_pieces
from ifttool.template.trajectory.program import Program, Row, UnfollowedError, Unknown
from ifttool.template.trajectory.segment import Segment
from ifttool.template.trajectory.walk import Stage, numbered, walk
from ifttool.template.trajectory.window import Placed, Windows

# Renders recorded for one row before it goes the slower way.
_MOST_LESSONS = 400


class Assembled(msgspec.Struct, frozen=True, gc=False):
    """A rendered conversation with its turns located.

    Attributes:
        text: The rendered text.
        segments: What it is put together from, in order.
        texts: What each of them prints.
        turns: The located turns.
        roles: The role of each message.
    """

    text: str
    segments: Sequence[Segment]
    texts: Sequence[str]
    turns: Sequence[Placed]
    roles: Sequence[str]


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
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._program = Program(template)
        self._windows = Windows(self._program)

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

    def assemble(self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int]) -> Assembled:
        """Render a conversation and locate the given turns in it, learning what is needed.

        Raises:
            UnfollowedError: It can't be put together; whether the template refuses it isn't known.
        """
        row = Row(conversation.messages, conversation.tools, self._template.kwargs, kinds)
        self._windows.fresh.clear()
        for _ in range(_MOST_LESSONS):
            try:
                return self._assemble(row, turns)
            except Unknown as lesson:
                self._program.learn(row, lesson.count, lesson.asks)
        raise UnfollowedError("the row needs too many lessons")

    def examine(self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int]) -> Examined | None:
        """Put a conversation together once more, and tell what that depends on; None if it can't be told.

        Raises:
            UnfollowedError: It can't be put together.
        """
        row = Row(conversation.messages, conversation.tools, self._template.kwargs, kinds)
        program = self._program
        program.consulted, program.compared = [], False
        try:
            stages = walk(program, row, len(row.messages), asks=False)
            assembled = self._with_turns(row, stages, turns)
            consulted = program.consulted
        except Unknown:
            return None
        finally:
            program.consulted = None
        windows = [placed.window for placed in assembled.turns]
        if program.compared or not all(window.holds for window in windows):
            return None
        at = [(placed.window.guards, placed.message) for placed in assembled.turns]
        guards = tuple(dict.fromkeys(flat_guards(row, consulted, at)))
        return Examined(assembled, flat_pieces(row, stages), guards)

    def _assemble(self, row: Row, turns: Sequence[int]) -> Assembled:
        return self._with_turns(row, walk(self._program, row, len(row.messages), asks=False), turns)

    def _with_turns(self, row: Row, stages: Sequence[Stage], turns: Sequence[int]) -> Assembled:
        beginnings = Beginnings(self._program, row, stages) if turns else None
        placed = [self._windows.place(row, beginnings, turn) for turn in turns] if beginnings is not None else []
        parts = list(numbered(stages if beginnings is None else _speaking(stages)))
        text = "".join([text for _, text in parts])
        if not text.strip():
            raise UnfollowedError("nothing is rendered")
        return Assembled(
            text,
            [segment for segment, _ in parts],
            [text for _, text in parts],
            placed,
            [str(message["role"]) for message in row.messages],
        )

    def located(self, conversation: Conversation, kinds: Sequence[int], assembled: Assembled) -> list[Analysis]:
        """The surroundings of each turn with the texts of their pieces; for checks, not for the fast way."""
        messages, tools, kwargs = conversation.messages, conversation.tools, self._template.kwargs
        return [
            Analysis(
                placed.window.layout,
                placed.window.texts(messages, tools, kwargs, kinds, {}, placed.message, len(messages), False),
            )
            for placed in assembled.turns
        ]


def _speaking(stages: Sequence[Stage]) -> list[Stage]:
    """The stages that a window counts: segments outside of loops, and the loop that prints the messages."""
    return [stage for stage in stages if stage.loop is None or any(not segment.is_silent for segment in stage.segments)]
