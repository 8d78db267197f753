"""Rows whose tool definitions came before: these are decoded, checked and written as JSON text once.

Agents of one kind all have the same tools, or some of the same ones, which are often most of a row. So their JSON is
left undecoded at first, and what is that of another row gives the same objects: all tools of a row, or each by itself.
"""

from typing import Any

import msgspec

from ifttool.errors import RowError
from ifttool.formats.tool_calls import read_tools
from ifttool.io.json_structure import MAX_DEPTH, DepthError, count_keys
from ifttool.io.jsonl import decode_row
from ifttool.records import RawRow
from ifttool.template.json_text import keep_texts

# Tools and lists of them that are kept stay to the end, with the texts that are made of them.
_MOST_KEPT = 2_048
_MOST_BYTES = 4 << 20
_MOST_SEEN = 20_000
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
_SPLITTER = msgspec.json.Decoder(list[msgspec.Raw])


class SharedTools:
    """Decodes rows of ``messages`` and ``tools``, as long as tools come again."""

    def __init__(self) -> None:
        self._sets: dict[bytes, _Tools] = {}
        self._tools: dict[bytes, _Tools] = {}
        self._seen: set[int] = set()
        self._bytes = self._vain = 0

    def decode(self, row: RawRow) -> dict[str, Any] | None:
        """A row with tools, decoded; None for one that holds anything else or isn't valid, and if tools don't recur."""
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
        value = {"messages": found.messages, "tools": tools.value}
        return value if found.id is msgspec.UNSET else {**value, "id": found.id}

    def _of(self, definitions: bytes) -> _Tools | None:
        """The tools that are written so; None if there are none.

        Raises:
            RowError: They aren't tools.
        """
        tools = self._sets.get(definitions)
        if tools is not None:
            self._vain = 0
            return tools
        if definitions.startswith(b"["):
            parts = [self._one(bytes(part)) for part in _SPLITTER.decode(definitions)]
            value = [one for part in parts for one in part.value]
            tools = _Tools(value, sum([part.keys for part in parts]))
        else:
            tools = _read(definitions)
        if tools.value and self._is_to_be_kept(definitions):
            keep_texts(tools.value)
            self._sets[definitions] = tools
        return tools if tools.value else None

    def _one(self, definition: bytes) -> _Tools:
        """The tool that is written so."""
        tool = self._tools.get(definition)
        if tool is not None:
            self._vain = 0
            return tool
        tool = _read(b"[" + definition + b"]")
        if self._is_to_be_kept(definition):
            keep_texts(tool.value[0])
            self._tools[definition] = tool
        return tool

    def _is_to_be_kept(self, definitions: bytes) -> bool:
        """Whether these have come before, and there is room for them."""
        mark = hash(definitions)
        if mark not in self._seen:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(mark)
            return False
        self._vain = 0
        if len(self._sets) + len(self._tools) >= _MOST_KEPT or self._bytes + len(definitions) > _MOST_BYTES:
            return False
        self._bytes += len(definitions)
        return True


def _read(definitions: bytes) -> _Tools:
    """Tools from their JSON; whatever could be wrong with them is found here.

    Raises:
        RowError: They aren't tools.
    """
    row = decode_row(b'{"tools":' + definitions + b"}")
    return _Tools(read_tools(row) or [], count_keys(row["tools"], MAX_DEPTH - 1))
