"""Which turns are trained: the grammar of ``--train-on``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ifttool.errors import UsageError
from ifttool.records import Conversation

_NAMED = {"assistant-turns": None, "final-turn": 1}
_LAST = re.compile(r"last-([1-9][0-9]*)-turns")
_ROLES = re.compile(r"[a-z][a-z0-9_]*(,[a-z][a-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Selection:
    """Turns to train on.

    Attributes:
        roles: Roles whose messages are trained.
        last: Only the last so many of them; None for all.
        everything: Every token bears loss, whatever it belongs to.
    """

    roles: frozenset[str] = frozenset({"assistant"})
    last: int | None = None
    everything: bool = False

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """``assistant-turns``, ``final-turn``, ``last-3-turns``, ``all-tokens``, or roles such as ``user,assistant``.

        Raises:
            UsageError: It is none of these.
        """
        if text == "all-tokens":
            return cls(everything=True)
        if text in _NAMED:
            return cls(last=_NAMED[text])
        if match := _LAST.fullmatch(text):
            return cls(last=int(match[1]))
        if "-" not in text and _ROLES.fullmatch(text):
            return cls(roles=frozenset(text.split(",")))
        raise UsageError(
            f"--train-on can't be {text!r}",
            hint="assistant-turns, final-turn, last-N-turns, all-tokens, or roles such as user,assistant",
        )

    def turns(self, conversation: Conversation) -> list[int]:
        """Message indices of the turns to train on.

        A message's own ``train`` flag decides where it has one, except that ``last`` still leaves out all but the
        last.
        """
        return self.turns_of([message["role"] for message in conversation.messages], conversation.train)

    def turns_of(self, roles: Sequence[str], train: Sequence[bool | None] = ()) -> list[int]:
        """The same from the roles of the messages and their flags, if they have any."""
        turns = [index for index, role in enumerate(roles) if role in self.roles]
        if train:
            turns = [index for index, flag in enumerate(train) if (index in turns if flag is None else flag)]
        return turns if self.last is None else turns[-self.last :]
