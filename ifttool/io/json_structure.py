"""What a JSON decoder doesn't tell: duplicate keys and depth, mostly without a second parse.

msgspec keeps the last of two equal keys and says nothing. Other tools keep the first, or fail, so
such a row means different things to different readers and is refused. Counting proves most rows
clean: in valid JSON each key ends in ``":``, and a string can only hold these two bytes after a
backslash. If the bytes hold as many ``":`` as the decoded value has keys, no key was lost. On real
chats this takes one to three times as long as decoding them; a parser that reports pairs takes two
to six times as long.
"""

import json
import re
from collections import Counter
from typing import Any

MAX_DEPTH = 64
"""Containers inside each other, the row's own object included. Deeper values break pickle and ==."""

# A key's quote, white space, a colon: valid, and the one way in which a key doesn't end in `":`.
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')


class DepthError(Exception):
    """A value nested deeper than ``MAX_DEPTH``."""


def find_duplicate_key(data: bytes, value: Any) -> str | None:
    """Look for a key that occurs twice in one object, at any depth.

    Args:
        data: Valid JSON text.
        value: What it decodes to.

    Returns:
        One such key, or None.

    Raises:
        DepthError: ``value`` is nested deeper than ``MAX_DEPTH``.
    """
    if _is_plain(data, value):
        return None
    keys = _count_keys(value, MAX_DEPTH)
    # `\\":` is a key that ends with a backslash; it would be taken for text here.
    if not _SPACED_KEY.search(data) and b'\\\\":' not in data:
        key_ends = data.count(b'":')
        if keys in (key_ends, key_ends - data.count(b'\\":')):
            return None
    duplicates: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            duplicates.append(next(name for name, count in counts.items() if count > 1))

    json.loads(data, object_pairs_hook=check)
    return duplicates[0] if duplicates else None


def _is_plain(data: bytes, value: Any) -> bool:
    """Account for all keys with those of the row and of the objects in its lists (messages).

    Looks at no value below these, which makes it three times as fast as the full count. It never
    counts too many keys, so a match leaves no room for a lost key, nor for objects further down.
    """
    brackets = data.count(b"[")
    try:
        keys = dict.__len__(value)
        for item in value.values():
            if type(item) is list:
                brackets -= 1
                keys += sum(map(dict.__len__, item))
    except TypeError:  # not an object
        return False
    # Bare lists could still be deep, but not without the brackets for it.
    if brackets >= MAX_DEPTH - 3:
        return False
    # Every key has a colon, so as many colons as keys settle it, and one byte is found faster.
    if data.count(b":") == keys:
        return True
    return data.count(b'":') == keys and not _SPACED_KEY.search(data)


def _count_keys(value: Any, levels: int) -> int:
    """Count the keys of all objects in ``value``, which may be ``levels`` containers deep."""
    kind = type(value)
    if kind is dict:
        keys = len(value)
        items: Any = value.values()
    elif kind is list:
        keys = 0
        items = value
    else:
        return 0
    if not levels:
        raise DepthError
    for item in items:
        kind = type(item)
        if kind is dict or kind is list:
            keys += _count_keys(item, levels - 1)
    return keys
