"""What a JSON decoder doesn't tell: duplicate keys and depth, without a second parse.

msgspec keeps the last of two equal keys and says nothing. Other tools keep the first, or fail, so
such a row means different things to different readers and is refused. Parsing every row again
with a hook would take four times as long as decoding it. Counting is enough: in valid JSON each
key ends in ``":``, and a string can only hold these two bytes after a backslash. If the bytes hold
as many ``":`` as the decoded value has keys, no key was lost.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_DEPTH = 64
"""Containers inside each other, the row's own object included. Deeper values break pickle and ==."""

# A key's quote, white space, a colon: valid, and the one way in which a key doesn't end in `":`.
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')

# NumPy scans ten times as fast as bytes, but each call costs about 1 µs.
_LARGE = 8192


class DepthError(Exception):
    """A value nested deeper than ``MAX_DEPTH``."""


def certify(data: bytes, values: Sequence[Any]) -> bool:
    """Prove for many texts at once that none has duplicate keys or too much depth.

    Args:
        data: Valid JSON texts, joined by line ends.
        values: What they decode to.

    Returns:
        True if every value is fine. False proves nothing.
    """
    if _has_spaced_key(data):
        return False
    key_ends, brackets = _count_marks(data)
    if _is_shallow(values, key_ends, brackets=brackets):
        return True
    try:
        keys = sum(_count_keys(value, MAX_DEPTH) for value in values)
    except DepthError:
        return False
    if key_ends == keys:
        return True
    # `\\":` is a key that ends with a backslash; it would be taken for text here.
    return key_ends - data.count(b'\\":') == keys and b'\\\\":' not in data


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
    if certify(data, [value]):
        return None
    _count_keys(value, MAX_DEPTH)  # for DepthError
    duplicates: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            duplicates.append(next(name for name, count in counts.items() if count > 1))

    json.loads(data, object_pairs_hook=check)
    return duplicates[0] if duplicates else None


def _has_spaced_key(data: bytes) -> bool:
    if len(data) >= _LARGE:
        codes = np.frombuffer(data, dtype=np.uint8)
        if not ((codes[:-1] <= ord(" ")) & (codes[1:] == ord(":"))).any():
            return False
    return _SPACED_KEY.search(data) is not None


def _count_marks(data: bytes) -> tuple[int, int]:
    """Count ``":`` and ``[``."""
    if len(data) < _LARGE:
        return data.count(b'":'), data.count(b"[")
    codes = np.frombuffer(data, dtype=np.uint8)
    key_ends = np.count_nonzero((codes[:-1] == ord('"')) & (codes[1:] == ord(":")))
    return int(key_ends), int(np.count_nonzero(codes == ord("[")))


def _is_shallow(values: Sequence[Any], key_ends: int, *, brackets: int) -> bool:
    """Account for all keys with those of rows and of the objects in their lists (messages).

    Looks at no value below these, which makes it four times as fast as the full count. It never
    counts too many keys, so a match leaves no room for a lost key, nor for objects further down.
    Bare lists could still be deep, but not without the brackets for it.
    """
    keys = 0
    try:
        for value in values:
            keys += dict.__len__(value)
            for item in value.values():
                if type(item) is list:
                    brackets -= 1
                    keys += sum(map(dict.__len__, item))
    except TypeError:  # not an object
        return False
    return keys == key_ends and brackets < MAX_DEPTH - 3


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
