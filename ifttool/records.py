"""The few data types that flow through ifttool. A leaf: it imports nothing of the package.

Types of which every row makes one are structs of ``msgspec`` instead of dataclasses: a frozen dataclass of four fields
takes 0.8 us to make, a struct 0.1.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

Message = dict[str, Any]
"""One message as the template reads it: plain JSON types, no null values, no ifttool flags."""

Interval = tuple[int, int]
"""A half-open interval of characters."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a row comes from.

    Attributes:
        source: The path as given, or ``-`` for standard input.
        line: 1-based line number (row number for Parquet). Lines end at ``\\n`` bytes only; blank lines count.
        byte_start: Offset of the row in the uncompressed stream, in bytes; -1 for Parquet.
        byte_len: Length of the row in bytes, without its line end.
    """

    source: str
    line: int
    byte_start: int
    byte_len: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


class RawRow(msgspec.Struct, frozen=True, gc=False):
    """One undecoded input row.

    Attributes:
        place: Where it comes from.
        data: Its exact bytes, without the line end.
        terminated: False for a last line without ``\\n``, which may still be being written.
        most_keys: How many keys the JSON objects in it can have at most; None if its reader didn't count.
        role_heads: How many objects in it begin with the key ``role``, of those that have it and no other key like it;
            0 if its reader didn't count.
    """

    place: Place
    data: bytes
    terminated: bool = True
    most_keys: int | None = None
    role_heads: int = 0


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """One conversation, normalized to OpenAI messages.

    Attributes:
        messages: What the template reads. Roles are ``system``, ``user``, ``assistant``, ``tool`` or any
            other string; a null value in the input is an absent key here.
        tools: JSON schemas of the tools on offer, or None.
        train: One entry a message: the row's own decision to train on it (True/False), or None when
            the policy decides.
        id: The row's identifier when it has one.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    train: tuple[bool | None, ...] = ()
    id: str | None = None

    def strings(self) -> Iterator[str]:
        """Every string in messages and tools, keys included."""
        left: list[Any] = [self.messages, self.tools]
        while left:
            value = left.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                left += [*value, *value.values()]
            elif isinstance(value, list):
                left += value


class PlainChat(msgspec.Struct, frozen=True, gc=False):
    """A conversation of plain messages without tools or training flags: what most rows of chat data are.

    Attributes:
        contents: The texts of its messages, whose first key is the role.
        roles: Their roles.
        id: The row's identifier when it has one.
    """

    contents: list[str]
    roles: tuple[str, ...]
    id: str | None
