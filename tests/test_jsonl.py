"""The decoder: exact values, one code for each kind of fault, and cheap proofs that miss nothing."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ifttool.errors import RowError
from ifttool.findings import CODES
from ifttool.io.json_structure import MAX_DEPTH, KeyCounter
from ifttool.io.jsonl import decode_row, decode_value


def refusal(data: bytes, *, terminated: bool = True, most_keys: int | None = None) -> RowError:
    with pytest.raises(RowError) as caught:
        decode_row(data, terminated=terminated, most_keys=most_keys)
    return caught.value


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b'{"a":"\xff"}', "IFT101", "invalid UTF-8: byte 0xff at column 7 (byte 6)"),
        (b'{"\xc3\xa9":"x\xffy"}', "IFT101", "invalid UTF-8: byte 0xff at column 8 (byte 8)"),
        (b'{"a":"\xc0\x80"}', "IFT101", "invalid UTF-8: byte 0xc0 at column 7 (byte 6)"),
        (b'{"a":"\xed\xa0\x80"}', "IFT101", "invalid UTF-8: byte 0xed at column 7 (byte 6)"),
        (b'\xff{"a":1}', "IFT101", "invalid UTF-8: byte 0xff at column 1 (byte 0)"),
        (b'{"a":01}', "IFT102", "invalid JSON: invalid number at column 7 (byte 6)"),
        (b'{"a":1,}', "IFT102", "invalid JSON: trailing comma in object at column 7 (byte 6)"),
        (b"{'a':\"\\ud800\"}", "IFT102", "invalid JSON: object keys must be strings at column 2 (byte 1)"),
        (b'{"a":1} // x', "IFT108", "a second value starts at column 9 (byte 8)"),
        (b'{"a":"\x00"}', "IFT102", "invalid JSON: invalid character at column 7 (byte 6)"),
        (b'{"a":"\t"}', "IFT102", "invalid JSON: invalid character at column 7 (byte 6)"),
        (rb'{"a":"\x41"}', "IFT102", "invalid JSON: invalid escape character in string at column 7 (byte 6)"),
        (b'{"a":"b', "IFT102", "invalid JSON: it ends in the middle of a value"),
        (b'{"a":"\xe6\x97', "IFT102", "invalid JSON: it ends in the middle of a value"),
        (rb'{"a":"\ud83d', "IFT102", "invalid JSON: it ends in the middle of a value"),
        (rb'{"a":"\ud83d\ude0', "IFT102", "invalid JSON: it ends in the middle of a value"),
        (b"null", "IFT104", "the line holds null, not an object"),
        (b"true", "IFT104", "the line holds a boolean, not an object"),
        (b"42", "IFT104", "the line holds a number, not an object"),
        (b'"x"', "IFT104", "the line holds a string, not an object"),
        (b"[{}]", "IFT104", "the line holds an array, not an object"),
        (rb'{"a":"\ud800"}', "IFT107", r"\ud800 at column 7 (byte 6) is half of a surrogate pair"),
        (rb'{"a":"\ud800\n","b":"c"}', "IFT107", r"\ud800 at column 7 (byte 6) is half of a surrogate pair"),
        (rb'{"a":"\udc00"}', "IFT107", r"\udc00 at column 7 (byte 6) is half of a surrogate pair"),
        (rb'{"a":"\udc00\ud800"}', "IFT107", r"\udc00 at column 7 (byte 6) is half of a surrogate pair"),
        (rb'{"a":"\ud83d\ude00\ud83d"}', "IFT107", r"\ud83d at column 19 (byte 18) is half of a surrogate pair"),
        (b"{} {}", "IFT108", "a second value starts at column 4 (byte 3)"),
        (b'{"a":1}{"a":2}', "IFT108", "a second value starts at column 8 (byte 7)"),
        (b'{"a":NaN}', "IFT110", "NaN at column 6 (byte 5) isn't a JSON number"),
        (b'{"a":-Infinity}', "IFT110", "-Infinity at column 6 (byte 5) isn't a JSON number"),
        (b'{"a":1e999}', "IFT110", "a number at column 6 (byte 5) can't be kept exactly (number out of range)"),
        (
            '{"1e999 é":[2.5e3,-7,-1e400]}'.encode(),
            "IFT110",
            "a number at column 22 (byte 22) can't be kept exactly (number out of range)",
        ),
        (
            b'{"a":' + b"7" * 4300 + b',"b":-' + b"7" * 4300 + b"}",
            "IFT110",
            "a number at column 4311 (byte 4310) can't be kept exactly (integer value out of range)",
        ),
    ],
)
def test_faults_have_codes_and_places(data: bytes, code: str, message: str) -> None:
    error = refusal(data)
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize("data", [b'{"a":"b', b'{"a":"\xe6\x97', rb'{"a":"\ud83d\u', b'{"a":tru', b'{"a":1,'])
def test_cut_last_line(data: bytes) -> None:
    error = refusal(data, terminated=False)
    assert error.code == "IFT109"
    assert error.hint == "the line has no line end; the file may still be being written"


def test_cut_line_keeps_more_precise_codes() -> None:
    assert refusal(b'{"a":"\xff', terminated=False).code == "IFT101"
    assert refusal(b"{}{}", terminated=False).code == "IFT108"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (rb'{"a":"\ud83d\ude00 \\ud800 \u0000"}', {"a": "😀 \\ud800 \0"}),
        (b'{"a":18446744073709551616,"b":-9223372036854775809}', {"a": 2**64, "b": -(2**63) - 1}),
        (b'{"a":' + b"7" * 4000 + b"}", {"a": int("7" * 4000)}),
        (b' \t{"a" : 1.5 ,\r"b":[ ] } ', {"a": 1.5, "b": []}),
        (b'{"":{"a.b":1},"' + b"k" * 65536 + b'":2}', {"": {"a.b": 1}, "k" * 65536: 2}),
        ('{"a":"\u2028\u0085\x7f"}'.encode(), {"a": "\u2028\u0085\x7f"}),
    ],
)
def test_values_are_exact(data: bytes, value: dict[str, Any]) -> None:
    result = decode_row(data)
    assert result == value
    assert [type(v) for v in result.values()] == [type(v) for v in value.values()]


# --- depth -----------------------------------------------------------------------------------


def nested_arrays(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def nested_objects(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def nested_in_message(depth: int) -> bytes:
    return b'{"messages":[{"x":' + b"[1," * (depth - 3) + b"2" + b"]" * (depth - 3) + b"}]}"


def nested_to_an_object(depth: int) -> bytes:
    return b'{"messages":[{"x":' + b"[" * (depth - 4) + b"{}" + b"]" * (depth - 4) + b"}]}"


@pytest.mark.parametrize("nested", [nested_arrays, nested_objects, nested_in_message, nested_to_an_object])
@pytest.mark.parametrize("is_counted", [False, True])
def test_depth_limit(nested: Callable[[int], bytes], is_counted: bool) -> None:
    def count(data: bytes) -> int | None:
        return KeyCounter().count(data + b"\n")[0][0] if is_counted else None

    assert isinstance(decode_row(nested(MAX_DEPTH), most_keys=count(nested(MAX_DEPTH))), dict)
    for depth in (MAX_DEPTH + 1, 500, 1024, 100_000):
        data = nested(depth)
        start = time.perf_counter()
        assert refusal(data, most_keys=count(data)).code == "IFT105"
        assert time.perf_counter() - start < 0.5


# --- duplicate keys --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":1,"a":1}', "a"),
        (b'{"a" :1,"a":2}', "a"),
        (b'{"a"\t\r : 1, "a" :2}', "a"),
        (rb'{"a":1,"\u0061":2}', "a"),
        (b'{"messages":[{"role":"user","content":"a","content":"b"}]}', "content"),
        (b'{"x":[{"y":{"z":{"k":1,"l":2,"k":3}}}]}', "k"),
        (b'{"a\\\\":1,"b":1,"b":2}', "b"),
        (b'{"a":"\\":","b":1,"b":2}', "b"),
        (b'{"a":"\\" :","b" :1,"b":2}', "b"),
        (b'{"tags":["ab","cd"],"b":1,"b":2,"b":3,"b":4,"b":5}', "b"),
        (b'{"m":[{"a":1,"a":2},"x"]}', "a"),
    ],
)
def test_duplicate_keys_at_any_depth(data: bytes, key: str) -> None:
    error = refusal(data)
    assert (error.code, error.message) == ("IFT103", f"the key {key!r} occurs twice in one object")


keys = st.sampled_from(["a", "b", '"', "\\", ":", '":', " ", 'x\\":', "é"])
texts = st.lists(keys, max_size=3).map("".join)
pairs = st.recursive(
    texts | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(texts, inner), max_size=3).map(tuple),
    max_leaves=12,
)
spaces = st.sampled_from(["", "", " ", "\t "])


def write_value(value: Any, space: str, after_key: str) -> str:
    """Write tuples of pairs as objects, which is how a duplicate key gets into the text."""
    if isinstance(value, tuple):
        items = (f"{json.dumps(k)}{after_key}:{space}{write_value(v, space, after_key)}" for k, v in value)
        return "{" + ("," + space).join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write_value(v, space, after_key) for v in value) + "]"
    return json.dumps(value, ensure_ascii=len(str(value)) % 2 == 0)


def has_duplicate(value: Any) -> bool:
    if isinstance(value, tuple):
        names = [k for k, _ in value]
        return len(set(names)) != len(names) or any(has_duplicate(v) for _, v in value)
    return isinstance(value, list) and any(map(has_duplicate, value))


@given(st.lists(st.tuples(texts, pairs), max_size=4).map(tuple), spaces, spaces)
@example((("a", 1), ("a", 2)), "", " ")
@settings(max_examples=400, deadline=None)
def test_duplicates_are_found_exactly(value: Any, space: str, after_key: str) -> None:
    data = write_value(value, space, after_key).encode()
    # Lines around it: what a reader counts must be each line's own.
    most_keys, _ = KeyCounter().count(b'{"b":0}\n' + data + b'\n{"a":1}\n')
    assert (most_keys[0], most_keys[2]) == (1, 1)
    for counted in (None, most_keys[1]):
        if has_duplicate(value):
            assert refusal(data, most_keys=counted).code == "IFT103"
        else:
            assert decode_row(data, most_keys=counted) == json.loads(data)


@given(st.binary(max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_an_object_or_a_row_error(data: bytes) -> None:
    try:
        value = decode_row(data)
    except RowError as error:
        assert error.code in CODES
    else:
        assert value == json.loads(data)


def test_values_inside_strings() -> None:
    assert decode_value("[1, {}]") == [1, {}]
    assert decode_value('"x"') == "x"
    for text, code in (("", "IFT102"), ('[{"a":1,"a":2}]', "IFT103"), ("[" * 100_000, "IFT105")):
        with pytest.raises(RowError) as caught:
            decode_value(text)
        assert caught.value.code == code


def test_colliding_keys_cost_linear_time() -> None:
    def seconds(count: int) -> float:
        data = b"{" + b",".join(b'"%d":0' % (i << 61) for i in range(count)) + b"}"
        start = time.perf_counter()
        assert len(decode_row(data)) == count
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(100_000) < 2.0
