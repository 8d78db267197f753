"""Conversations put together with a memory of the ones before, beside the same without."""

from collections.abc import Sequence
from typing import Any

from ifttool.errors import RowError
from ifttool.records import Conversation
from ifttool.template.trajectory.assembly import Assembler
from ifttool.template.trajectory.memory import Assembled, Memory
from ifttool.template.trajectory.program import Program, Row, UnfollowedError
from ifttool.template.trajectory.window import Windows
from kinds import Kinds


class Watching(Memory):
    """Notes what was put together by memory alone."""

    __slots__ = ("found",)

    def repeated(self, program: Program, windows: Windows, row: Row) -> Assembled | None:
        """As of the memory."""
        self.found = super().repeated(program, windows, row)
        return self.found


class Watched:
    """Assembles conversations with one memory a shape, and without.

    Attributes:
        repeated: How many were put together by memory.
    """

    def __init__(self, assembler: Assembler) -> None:
        self._assembler, self._kinds = assembler, Kinds()
        self.memories: dict[Any, Watching] = {}
        self.repeated = 0

    def agrees(self, conversation: Conversation, turns: Sequence[int]) -> bool:
        """Whether a conversation comes out the same with a memory and without."""
        kinds = self._kinds(conversation)
        shape = (tuple(kinds), conversation.tools is None, tuple(turns))
        memory = self.memories.setdefault(shape, Watching())
        try:
            found: Assembled | None = self._assembler.assemble(conversation, kinds, turns, memory)
        except (UnfollowedError, RowError):
            found = None
        if memory.found is None:
            return True
        self.repeated += 1
        try:
            return _told(memory.found) == _told(self._assembler.assemble(conversation, kinds, turns)) and (
                found is memory.found
            )
        except (UnfollowedError, RowError):
            return False


def _told(found: Assembled) -> tuple[Any, ...]:
    arrangement = found.arrangement
    turns = [(placed.window, placed.message, placed.first) for placed in arrangement.turns]
    return (found.text, list(found.texts), list(arrangement.segments), turns, list(arrangement.roles))
