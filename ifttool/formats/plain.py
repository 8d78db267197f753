"""Plain chats, read without a look at each of their messages.

Most chat data is rows of ``messages`` that are a role and a text. A typed decoder checks in C what ``from_messages``
asks of such messages one by one, and takes as long as one that checks nothing: on rows of ten messages this is half of
the time. Every other row fails here at once, or soon, and goes the general way, which knows what to say.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import msgspec

from ifttool.records import PlainChat, RawRow

_KEYS_A_MESSAGE = 2
_PATIENCE = 64


class _PlainMessage(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    role: str
    content: str


class _PlainRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: list[_PlainMessage]
    id: str | int | msgspec.UnsetType = msgspec.UNSET


_DECODER = msgspec.json.Decoder(_PlainRow)


class PlainReader:
    """Reads plain chats as long as that is of use: data without any gives one handful of rows in many for a look."""

    def __init__(self) -> None:
        self._vain = self._handfuls = 0

    def read(self, rows: Sequence[RawRow]) -> Iterator[PlainChat | None]:
        """As :func:`read_plain_chats`, but None for most rows where many before were of no use."""
        self._handfuls += 1
        if self._vain > _PATIENCE and self._handfuls % _PATIENCE:
            return repeat(None, len(rows))
        self._vain += len(rows)
        return read_plain_chats(rows)

    def found_use(self) -> None:
        """One of the last chats was of use."""
        self._vain = 0


def read_plain_chats(rows: Iterable[RawRow]) -> Iterator[PlainChat | None]:
    """Decode rows of plain messages and perhaps an ``id``; None for those that hold more, or aren't valid.

    What a typed decoder doesn't tell, their reader has counted, see :mod:`ifttool.io.json_structure`: that no key
    occurs twice, and that in each message the role comes first, for templates may print keys in their order.
    """
    decode = _DECODER.decode
    for row in rows:
        heads = row.role_heads
        others = -1 if row.most_keys is None else row.most_keys - _KEYS_A_MESSAGE * heads
        if others not in (1, 2):  # "messages", and "id"
            yield None
            continue
        try:
            found = decode(row.data)
        except Exception:  # whatever is wrong with the row, the general way says it
            yield None
            continue
        messages, identifier = found.messages, found.id
        has_id = identifier is not msgspec.UNSET
        if len(messages) == heads and others == 1 + has_id:
            roles = tuple([message.role for message in messages])
            contents = [message.content for message in messages]
            yield PlainChat(contents, roles, str(identifier) if has_id else None)
        else:
            yield None
