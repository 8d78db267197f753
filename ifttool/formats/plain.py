"""Plain chats, read without a look at each of their messages.

Most chat data is rows of ``messages`` that are a role and a text. A typed decoder checks in C what ``from_messages``
asks of such messages one by one, and takes as long as one that checks nothing: on rows of ten messages this is half of
the time. Every other row fails here at once, or soon, and goes the general way, which knows what to say.
"""

import msgspec

from ifttool.records import PlainChat, PlainMessage, RawRow

_KEYS_A_MESSAGE = 2
_PATIENCE = 64


class _PlainRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: list[PlainMessage]
    id: str | int | msgspec.UnsetType = msgspec.UNSET


_DECODER = msgspec.json.Decoder(_PlainRow)


class PlainReader:
    """Reads plain chats as long as that is of use: data without any gives one row in many for a look."""

    def __init__(self) -> None:
        self._vain = 0

    def read(self, row: RawRow) -> PlainChat | None:
        """As :func:`read_plain_chat`, but also None for most rows where many before were of no use."""
        if self._vain > _PATIENCE and row.place.line % _PATIENCE:
            return None
        self._vain += 1
        return read_plain_chat(row)

    def found_use(self) -> None:
        """The last chat was of use."""
        self._vain = 0


def read_plain_chat(row: RawRow) -> PlainChat | None:
    """Decode a row of plain messages and perhaps an ``id``; None if it holds more, or isn't valid.

    What a typed decoder doesn't tell, its reader has counted, see :mod:`ifttool.io.json_structure`: that no key occurs
    twice, and that in each message the role comes first, for templates may print keys in their order.
    """
    others = -1 if row.most_keys is None else row.most_keys - _KEYS_A_MESSAGE * row.role_heads
    if others not in (1, 2):  # "messages", and "id"
        return None
    try:
        found = _DECODER.decode(row.data)
    except Exception:  # whatever is wrong with the row, the general way says it
        return None
    messages, identifier = found.messages, found.id
    has_id = identifier is not msgspec.UNSET
    if len(messages) != row.role_heads or others != 1 + has_id:
        return None
    roles = tuple([message.role for message in messages])
    return PlainChat(messages, roles, str(identifier) if has_id else None)
