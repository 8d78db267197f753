"""Numbers for kinds of messages, as those who put conversations together want them."""

from typing import Any

from ifttool.records import Conversation
from ifttool.template.symbols import tag


class Kinds:
    """Numbers the kinds of messages in the order in which they are first seen."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}

    def __call__(self, conversation: Conversation) -> list[int]:
        """The number of each message's kind."""
        return [
            self._known.setdefault(
                (message["role"], tuple(message), tuple(map(tag, message.values()))), len(self._known)
            )
            for message in conversation.messages
        ]
