"""Rows whose tools came before: decoded from what is kept, they are what they are without it."""

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers import raw_row
from ifttool.errors import RowError
from ifttool.formats import to_conversation
from ifttool.io.jsonl import decode_row
from ifttool.preparing.reading import RowReader, read_conversation
from ifttool.preparing.shared_tools import SharedTools
from ifttool.records import Conversation
from ifttool.template.json_text import json_text
from masks.generators import Row, assistant, built_in, run, user, worker


def tool(name: str, **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"x": {"type": "number", "default": None, "maximum": 1e16}}}
    return {"type": "function", "function": {"name": name, "description": 'ü "', "parameters": parameters, **more}}


def called(name: str, **arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


MESSAGES = [user("Hi"), called("a", x=1.5, y={"z": [1]}), {"role": "tool", "content": '{"tools":[{"name":1}]}'}]
SETS: list[Any] = [
    [tool("a")],
    [tool("a"), tool("b", strict=None)],
    [{"name": "bare", "parameters": {}}],
    [{"type": "code_interpreter"}],
    json.dumps([tool("a")]),
    [json.dumps(tool("a"))],
    [],
    None,
    "no",
    [3],
]


def written(messages: Any, tools: Any, more: dict[str, Any]) -> bytes:
    return json.dumps({"messages": messages, **more, "tools": tools}, ensure_ascii=False).encode()


def general(data: bytes) -> Conversation | None:
    try:
        return to_conversation(decode_row(data))
    except RowError:
        return None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SETS),
            st.sampled_from([MESSAGES, MESSAGES[:2], [], [3], "x", [{"role": "user", "content": {"a": {"b": 1}}}]]),
            st.sampled_from([{}, {"id": "x"}, {"id": 7}, {"id": None}, {"id": {"a": 1}}, {"label": True}, {"n": 1}]),
        ),
        max_size=12,
    )
)
@example([(SETS[0], MESSAGES, {"id": 7})] * 3)
@settings(max_examples=300, deadline=None)
def test_rows_are_what_the_general_way_reads(rows: list[tuple[Any, Any, dict[str, Any]]]) -> None:
    shared = SharedTools()
    for tools, messages, more in rows:
        data = written(messages, tools, more)
        value = shared.decode(raw_row(data))
        if value is None:
            continue
        try:
            found = to_conversation(value)
        except RowError:
            found = None
        assert found == general(data)


@pytest.mark.parametrize("tools", SETS[:6])
def test_the_third_row_has_the_tools_of_the_second(tools: Any) -> None:
    shared = SharedTools()
    row = raw_row(written(MESSAGES, tools, {}))
    first, second, third = (shared.decode(row) for _ in range(3))
    assert first is not None and second is not None and third is not None
    assert second["tools"] is not first["tools"]
    assert third["tools"] is second["tools"]


def test_tools_are_shared_by_rows_of_other_sets() -> None:
    shared = SharedTools()
    found = []
    for names in ("ab", "bc", "cad", "ba", "dcb"):
        value = shared.decode(raw_row(written(MESSAGES, [tool(name) for name in names], {})))
        assert value is not None and value["tools"] == [tool(name) for name in names]
        found.append(dict(zip(names, value["tools"], strict=True)))
    assert found[0]["b"] is not found[1]["b"]
    assert found[1]["b"] is found[3]["b"] is found[4]["b"]
    assert found[2]["a"] is found[3]["a"] and found[2]["c"] is found[4]["c"] and found[2]["d"] is not found[4]["d"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"messages":[],"tools":[{"name":"a","name":"b"}]}',
        b'{"messages":[],"tools":[{"name":"a"}],"tools":[{"name":"a"}]}',
        b'{"messages":[{"role":"user","role":"user"}],"tools":[{"name":"a"}]}',
        b'{"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"a"}],"id":1,"id":2}',
        b'{"messages":[],"tools":[{"name":"a","parameters":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}]}",
        b'{"messages":' + b"[" * 70 + b"]" * 70 + b',"tools":[{"name":"a"}]}',
        b'{"messages":[],"tools":[{"name":"a"}]} x',
        b'{"messages":[],"tools":[{"name":"\xff"}]}',
    ],
)
def test_what_is_wrong_with_a_row_is_left_to_the_general_way(data: bytes) -> None:
    shared = SharedTools()
    good = raw_row(b'{"messages":[],"tools":[{"name":"a"}]}')
    assert all(shared.decode(good) is not None for _ in range(3))
    assert [shared.decode(raw_row(data)) for _ in range(3)] == [None, None, None]


OPTIONS = [
    (False, None, None, False),
    (True, None, None, False),
    (False, 2, None, True),
    (False, None, (",", ":"), False),
    ("repr",),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_kept_texts_are_those_of_fresh_values(options: tuple[Any, ...]) -> None:
    shared = SharedTools()
    row = raw_row(written(MESSAGES, SETS[1], {}))
    for _ in range(3):
        value = shared.decode(row)
    assert value is not None
    fresh = json.loads(json.dumps(value["tools"]))
    for _ in range(2):
        assert json_text(value["tools"], options) == json_text(fresh, options)
        for kept, other in zip(value["tools"], fresh, strict=True):
            assert json_text(kept, options) == json_text(other, options)
            assert json_text(kept["function"], options) == json_text(other["function"], options)
            assert json_text(kept["function"]["parameters"], options) == json_text(
                other["function"]["parameters"], options
            )


def test_runs_of_one_process_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifttool.template.json_text._MOST_KEPT", 30)
    monkeypatch.setattr("ifttool.template.json_text._KEPT", kept := {})
    for number in range(40):
        shared = SharedTools()
        row = raw_row(written(MESSAGES, [tool(f"t{number}")], {}))
        for _ in range(3):
            value = shared.decode(row)
        assert value is not None
        (one,) = value["tools"]
        assert json_text(one, OPTIONS[0]) == json.dumps(one, ensure_ascii=False)
        assert 0 < len(kept) <= 30


def test_tools_that_never_come_again_are_only_looked_at_now_and_then() -> None:
    shared = SharedTools()
    looked_at = [
        line
        for line in range(1, 200)
        if shared.decode(raw_row(written(MESSAGES, [tool(f"t{line}")], {}), line)) is not None
    ]
    assert looked_at == [*range(1, 66), 128, 192]
    again = [
        line
        for line in range(200, 520)
        if shared.decode(raw_row(written(MESSAGES, [tool("same")], {}), line)) is not None
    ]
    # Seen at one line in 64, known at the next of these, and from then on looked at in every one.
    assert again == [256, *range(320, 520)]


def test_no_more_tools_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifttool.preparing.shared_tools._MOST_KEPT", 4)
    shared = SharedTools()
    rows = [raw_row(written(MESSAGES, [tool(name)], {})) for name in "abc"]
    for _ in range(2):
        for row in rows:
            shared.decode(row)
    before, after = ([shared.decode(row) for row in rows] for _ in range(2))
    same = [one["tools"] is two["tools"] for one, two in zip(before, after, strict=True) if one and two]
    assert same == [True, True, False]


@pytest.mark.parametrize("name", ["chatml", "qwen3", "hermes", "granite", "mistral-v7"])
@pytest.mark.parametrize("options", [{}, {"unroll": "auto"}, {"tool_arguments": "string"}, {"train_on": "all-tokens"}])
def test_samples_are_the_same_with_and_without(name: str, options: dict[str, Any]) -> None:
    rows: list[Row] = [
        {
            "messages": [
                user(f"Hi {number}"),
                *[called("a", x=number), *MESSAGES[2:]] * (number % 3),
                assistant("Yo."),
            ],
            "tools": SETS[number % 4],
            **({"id": number} if number % 5 else {}),
        }
        for number in range(40)
    ]
    made = []
    for is_shared in (True, False):
        one = worker(built_in(name), named={"eos_token": "</s>"}, allow_text_markers=True, **options)
        reader = RowReader(one.recipe)
        one._preparer._read = reader.read if is_shared else partial(read_conversation, recipe=one.recipe)
        made.append(run(one, rows))
        assert len(reader.shared_tools._sets) == (4 if is_shared else 0)
    assert made[0] == made[1]
