"""Rows whose tool definitions came before: these are decoded, checked and written as JSON text once.

Agents of one kind all have the same tools, which are often most of a row. So their JSON is left undecoded at first, and
if it is that of another row, the row gets the same objects.
"""

from typing import Any

import msgspec

from ifttool.errors import RowError
from ifttool.formats.tool_calls import read_tools
from ifttool.io.json_structure import MAX_DEPTH, DepthError, count_keys
from ifttool.io.jsonl import decode_row
from ifttool.records import RawRow
from ifttool.template.json_text import keep_texts

# What is kept stays to the end: some 100 kB for a set of twenty tools, texts included.
_MOST_SETS = 256
_MOST_BYTES = 4 << 20
_MOST_SEEN = 10_000
_PATIENCE = 64


class _Row(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: list[Any]
    tools: msgspec.Raw
    id: Any = msgspec.UNSET


class _Tools(msgspec.Struct, frozen=True):
    """Tool definitions as a template gets them, and how many keys their JSON holds."""

    value: list[dict[str, Any]]
    keys: int


_DECODER = msgspec.json.Decoder(_Row)


class SharedTools:
    """Decodes rows of ``messages`` and ``tools``, as long as tools come again."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Tools] = {}
        self._seen: set[int] = set()
        self._bytes = self._vain = 0

    def decode(self, row: RawRow) -> dict[str, Any] | None:
        """A row whose tools are known, decoded; None for any other, and for rows that hold more or aren't valid."""
        if row.most_keys is None or (self._vain > _PATIENCE and row.place.line % _PATIENCE):
            return None
        self._vain += 1
        try:
            found = _DECODER.decode(row.data)
        except Exception:  # as in decode_row: whatever is wrong with the row, the general way says it
            return None
        try:
            tools = self._of(bytes(found.tools))
            keys = count_keys(found.messages, MAX_DEPTH - 1)
        except (RowError, DepthError):
            return None
        own = 2 if found.id is msgspec.UNSET else 3
        # As in decode_row: if all keys are there that may be, none came twice.
        if tools is None or own + tools.keys + keys != row.most_keys:
            return None
        self._vain = 0
        value = {"messages": found.messages, "tools": tools.value}
        return value if found.id is msgspec.UNSET else {**value, "id": found.id}

    def _of(self, definitions: bytes) -> _Tools | None:
        """The tools that are written so; None when they come for the first time, or if too many are kept."""
        tools = self._known.get(definitions)
        if tools is not None:
            return tools
        mark = hash(definitions)
        if mark not in self._seen:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(mark)
            return None
        if len(self._known) >= _MOST_SETS or self._bytes + len(definitions) > _MOST_BYTES:
            return None
        # Whatever could be wrong with them is found here.
        row = decode_row(b'{"tools":' + definitions + b"}")
        keys = count_keys(row["tools"], MAX_DEPTH - 1)
        value = read_tools(row)
        if value is None:
            return None
        keep_texts(value)
        self._bytes += len(definitions)
        tools = self._known[definitions] = _Tools(value, keys)
        return tools
