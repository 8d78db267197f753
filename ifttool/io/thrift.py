"""Thrift's compact protocol, as much of it as the headers and footers of Parquet files are written in.

The format: ``thrift/doc/specs/thrift-compact-protocol.md`` of Apache Thrift.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_TRUE, _I8, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 3, 5, 6, 8, 9, 12
_SHORT_LIST = 15


class Value(NamedTuple):
    """A value and the number of its type, which stands before it."""

    kind: int
    data: bytes


TRUE = Value(_TRUE, b"")
"""A field that is true; its type says it."""


def i8(number: int) -> Value:
    """An integer of 8 bits."""
    return Value(_I8, number.to_bytes(1, "little", signed=True))


def i32(number: int) -> Value:
    """An integer of 32 bits."""
    return Value(_I32, _zigzag(number))


def i64(number: int) -> Value:
    """An integer of 64 bits."""
    return Value(_I64, _zigzag(number))


def binary(data: bytes) -> Value:
    """Bytes, or text as UTF-8."""
    return Value(_BINARY, varint(len(data)) + data)


def list_of(items: Sequence[Value]) -> Value:
    """A list of values of one type; of structs if it is empty."""
    kind, size = items[0].kind if items else _STRUCT, len(items)
    head = bytes([size << 4 | kind]) if size < _SHORT_LIST else bytes([0xF0 | kind]) + varint(size)
    return Value(_LIST, head + b"".join(item.data for item in items))


def struct(fields: Mapping[int, Value]) -> Value:
    """A struct: field numbers, less than 16 apart and in ascending order, and their values."""
    parts = []
    before = 0
    for number, value in fields.items():
        parts += [bytes([number - before << 4 | value.kind]), value.data]
        before = number
    return Value(_STRUCT, b"".join([*parts, b"\0"]))


def varint(number: int) -> bytes:
    """A number of at least 0 in groups of seven bits (ULEB128)."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)
