"""Numbers of messages within a window: those near the turn in order, then those that are always meant."""

from collections.abc import Sequence
from typing import Any

from ifttool.records import Message
from ifttool.template.compiler import is_nodes
from ifttool.template.symbols import Guard, Node
from ifttool.template.trajectory.affine import ITEM, Affine
from ifttool.template.trajectory.nodes import with_messages
from ifttool.template.trajectory.program import Row, UnfollowedError


class Numbering:
    """Numbers of messages within a window.

    Args:
        row: The conversation.
        low: The first message of the window.
        turn: The message of its turn.
    """

    def __init__(self, row: Row, low: int, turn: int) -> None:
        self._row, self._turn = row, turn
        self._base = max(0, low - 8)
        self._size = turn - self._base + 12

    def of(self, message: int) -> int:
        """The number of a message near the turn."""
        number = message - self._base
        if not 0 <= number < self._size:
            raise UnfollowedError("a message is referred to from afar")
        return number

    def local(self, node: Node, item: int) -> Node:
        """A segment's node with numbers of the window."""

        def number(index: Any) -> int:
            if isinstance(index, Affine):
                if index.terms != ((ITEM, 1),):
                    raise UnfollowedError("a message is printed that is found from the end")
                return self.of(item + index.constant)
            if index == self._turn:
                raise UnfollowedError("a turn is printed outside of the loop over messages")
            if index >= len(self._fixed()):
                raise UnfollowedError("a message is referred to from afar")
            return self._size + int(index)

        return with_messages(node, number)

    def roles(self) -> list[str]:
        """The role behind each number."""
        messages = self._row.messages
        near = [messages[at]["role"] if 0 <= at < len(messages) else "" for at in self._near()]
        return [*map(str, near), *(str(message["role"]) for message in self._fixed())]

    def _fixed(self) -> Sequence[Message]:
        """Messages that templates refer to by their number, such as a system prompt."""
        return self._row.messages[:16]

    def _near(self) -> range:
        return range(self._base, self._base + self._size)

    def node(self, node: Node) -> Node:
        """A node of the window with messages numbered from the turn."""
        return with_messages(node, self._relative)

    def guard(self, guard: Guard) -> Guard:
        """A guard of the window with messages numbered from the turn."""
        return Guard(
            guard.test,
            tuple(self.node(part) for part in guard.parts),
            tuple(tuple(map(self.node, arg)) if is_nodes(arg) else arg for arg in guard.args),
            guard.answer,
        )

    def _relative(self, number: int) -> Any:
        if number >= self._size:
            return number - self._size
        return Affine(((ITEM, 1),), number + self._base - self._turn)
