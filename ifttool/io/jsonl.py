"""JSON texts to Python values, strictly; each kind of failure has its own code and place.

msgspec decodes: it keeps integers exact, takes strict UTF-8 only and refuses NaN, lone surrogates
and raw control characters. Its messages don't tell these apart, so a failed text is looked at
again here; that costs nothing for good rows.
"""

import json
import math
import re
from typing import Any

import msgspec

from ifttool.errors import RowError
from ifttool.io.json_structure import MAX_DEPTH, DepthError, find_duplicate_key

_DECODER = msgspec.json.Decoder()
_ERROR_OFFSET = re.compile(r"\(byte (\d+)\)")
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|[^u])")
# A string (to be passed over) or a number.
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|(-?\d+)(\.\d+)?([eE][-+]?\d+)?', re.DOTALL)
_LONGEST_INTEGER = 4300  # with its sign
_NOT_FINITE = re.compile(rb"-?(NaN|nan|Infinity|inf|Inf)\b")
_TYPE_NAMES = {
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def decode_row(data: bytes, *, terminated: bool = True, most_keys: int | None = None) -> dict[str, Any]:
    """Decode one JSON object.

    Args:
        data: The row's bytes, without its line end.
        terminated: Whether a line end followed; if not, a syntax error is ``IFT109``.
        most_keys: What the reader counted, which saves doing it here; see ``RawRow``.

    Returns:
        The object. Integers are exact at any size.

    Raises:
        RowError: ``IFT101``-``IFT105`` or ``IFT107``-``IFT110``; the message has the byte offset
            and the column (in characters, from 1) where they are known.
    """
    try:
        value = _DECODER.decode(data)
    except Exception:
        value = _decode(data, terminated=terminated)  # says what is wrong
    if type(value) is not dict:
        raise RowError("IFT104", f"the line holds {_TYPE_NAMES[type(value)]}, not an object")
    _check_structure(data, value, most_keys)
    return value


def decode_value(text: str) -> Any:
    """Decode any JSON value that sits inside a string, such as tool call arguments.

    Raises:
        RowError: As ``decode_row``, but any type of value is fine.
    """
    data = text.encode()
    value = _decode(data, terminated=True)
    _check_structure(data, value)
    return value


def _check_structure(data: bytes, value: Any, most_keys: int | None = None) -> None:
    try:
        key = find_duplicate_key(data, value, most_keys=most_keys)
    except DepthError:
        raise _too_deep() from None
    if key is not None:
        raise RowError(
            "IFT103",
            f"the key {key!r} occurs twice in one object",
            hint="tools disagree on which value counts; keep one",
        )


def _decode(data: bytes, *, terminated: bool) -> Any:
    try:
        return _DECODER.decode(data)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        # The only values that fit no Python type: 1e999, and integers of over 4300 digits.
        reason = str(error).partition(" - ")[0].lower()
        raise RowError("IFT110", f"{_large_number(data)} can't be kept exactly ({reason})") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _explain(data, str(error), terminated=terminated) from None


def _large_number(data: bytes) -> str:
    """Name the first number that is too large, with its place, which msgspec doesn't give."""
    for match in _SCALAR.finditer(data):
        digits, fraction, exponent = match.groups()
        if digits is not None and _is_too_large(match[0], is_integer=fraction is exponent is None):
            return f"a number at {_place(data, match.start())}"
    return "a number"


def _is_too_large(number: bytes, *, is_integer: bool) -> bool:
    return len(number) > _LONGEST_INTEGER if is_integer else math.isinf(float(number))


def _too_deep() -> RowError:
    return RowError("IFT105", f"the row is nested deeper than {MAX_DEPTH} levels")


def _explain(data: bytes, reason: str, *, terminated: bool) -> RowError:
    """Find out what is wrong with a text that msgspec refused for ``reason``."""
    match = _ERROR_OFFSET.search(reason)
    offset = int(match[1]) if match else len(data)
    if error := _bad_text(data, offset):
        return error
    if match is None:
        problem = "it ends in the middle of a value"
    else:
        if error := _bad_value(data, reason, offset):
            return error
        detail = _ERROR_OFFSET.sub("", reason).removeprefix("JSON is malformed: ").strip()
        # Python 3.13 blames the comma, earlier versions what follows it.
        place = data.rfind(b",", 0, offset) if "trailing comma" in reason else _syntax_error_offset(data, offset)
        problem = f"{detail} at {_place(data, place)}"
    if terminated:
        return RowError("IFT102", f"invalid JSON: {problem}")
    hint = "the line has no line end; the file may still be being written"
    return RowError("IFT109", f"the last line isn't valid JSON: {problem}", hint=hint)


def _syntax_error_offset(data: bytes, offset: int) -> int:
    """Locate a syntax error: msgspec's ``offset`` is one too high for some kinds."""
    text = data.decode("utf-8", "replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return len(text[: error.pos].encode())
    except (RecursionError, ValueError):  # far down, or an integer of over 4300 digits
        pass
    return offset


def _bad_text(data: bytes, offset: int) -> RowError | None:
    """Look for text that can't be decoded, up to the place where msgspec stopped."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        is_cut = error.end == len(data) and error.reason == "unexpected end of data"
        if not is_cut and error.start <= offset:
            byte = data[error.start]
            return RowError("IFT101", f"invalid UTF-8: byte 0x{byte:02x} at {_place(data, error.start)}")
    surrogate = _lone_surrogate(data)
    if surrogate is None or surrogate >= offset:
        return None
    escape = data[surrogate : surrogate + 6].decode("ascii")
    return RowError("IFT107", f"{escape} at {_place(data, surrogate)} is half of a surrogate pair")


def _bad_value(data: bytes, reason: str, offset: int) -> RowError | None:
    if "trailing characters" in reason:
        start = _syntax_error_offset(data, offset)
        problem = f"a second value starts at {_place(data, start)}"
        return RowError("IFT108", problem, hint="put every object on its own line")
    start = offset - (data[offset - 1 : offset] == b"-")
    if number := _NOT_FINITE.match(data, start):
        problem = f"{number[0].decode()} at {_place(data, start)} isn't a JSON number"
        return RowError("IFT110", problem)
    return None


def _place(data: bytes, offset: int) -> str:
    column = len(data[:offset].decode("utf-8", "replace")) + 1
    return f"column {column} (byte {offset})"


def _lone_surrogate(data: bytes) -> int | None:
    """Give the offset of the first ``\\ud8xx``-``\\udfxx`` escape without its partner."""
    high = None  # offset of a high surrogate that waits for its low one
    for match in _ESCAPE.finditer(data):
        if high is not None and match.start() != high + 6:
            return high
        code = int(match[1], 16) if match[1] else 0
        is_low = 0xDC00 <= code < 0xE000
        if is_low != (high is not None):
            return match.start() if high is None else high
        high = match.start() if 0xD800 <= code < 0xDC00 else None
    if high is None:
        return None
    # At the very end the partner may just have been cut off.
    rest = data[high + 6 :]
    return None if rest == b"\\u"[: len(rest)] or rest.startswith(b"\\u") else high
