"""Every published row shape becomes the same messages, or is refused with a code and a path."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifttool.errors import RowError, UsageError
from ifttool.formats import FORMATS, ToolArguments, detect_format, to_conversation
from ifttool.formats.messages import _is_calling, _read_message, read_messages
from ifttool.io.jsonl import decode_row
from ifttool.io.source import read_rows
from ifttool.records import Conversation, RawRow

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ROOT.parent / "shared" / "data" / "conversations" / "shapes"

USER = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Hello"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


def chat(*messages: Any, **extra: Any) -> Conversation:
    return to_conversation({"messages": list(messages), **extra})


def refusal(row: dict[str, Any], **options: Any) -> tuple[str, str]:
    with pytest.raises(RowError) as caught:
        to_conversation(row, **options)
    return caught.value.code, caught.value.path


# --- messages --------------------------------------------------------------------------------


def test_plain_messages_are_passed_on() -> None:
    messages = [{"role": "system", "content": ""}, USER, REPLY, {"role": "narrator", "content": " "}]
    assert chat(*messages, source="x", extra={"a": None}) == Conversation(messages)
    assert to_conversation({"messages": json.dumps(messages)}) == Conversation(messages)
    assert to_conversation({"conversations": messages, "messages": None}) == Conversation(messages)
    assert to_conversation({"conversations": json.dumps(messages)}) == Conversation(messages)


def test_null_keys_are_absent_and_other_keys_stay() -> None:
    message = {"role": "assistant", "content": "x", "name": None, "tool_calls": None, "prefix": {"a": None}}
    assert chat(message).messages == [{"role": "assistant", "content": "x", "prefix": {"a": None}}]


def test_an_empty_list_of_tool_calls_stays() -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": []}
    assert chat(dict(message)).messages == [message]  # as `apply_chat_template` of transformers shows it
    parts = [{"type": "tool_call", "value": {"name": "f"}}]
    assert chat({**message, "content": parts}).messages[0]["tool_calls"] == [
        {"type": "function", "function": {"name": "f", "arguments": {}}}
    ]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([], "messages"),
        ({}, "messages"),
        (7, "messages"),
        ("not json", "messages"),
        ('{"role":"user"}', "messages"),
        ("", "messages"),
        ([USER, "x"], "messages[1]"),
        ([USER, None], "messages[1]"),
        ([USER, {"content": "x"}], "messages[1].role"),
        ([{"role": None, "content": "x"}], "messages[0].role"),
        ([{"role": 1, "content": "x"}], "messages[0].role"),
        ([{"role": "", "content": "x"}], "messages[0].role"),
        ([USER, {"role": "user"}], "messages[1].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "assistant", "content": None}], "messages[0].content"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "messages[0].content"),
        ([{"role": "user", "content": 1}], "messages[0].content"),
        ([{"role": "user", "content": True}], "messages[0].content"),
        ([{"role": "tool", "content": {"a": 1}}], "messages[0].content"),
    ],
)
def test_malformed_messages(messages: Any, path: str) -> None:
    assert refusal({"messages": messages}) == ("IFT202", path)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_kept_as_it_is(key: str) -> None:
    message = {"role": "assistant", "content": "No.", key: "Let me see."}
    assert chat(message).messages == [message]
    assert chat(message | {"content": None}).messages == [{"role": "assistant", key: "Let me see."}]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"id": "a", "uuid": "b"}, "a"),
        ({"id": 7}, "7"),
        ({"id": None, "uuid": "b"}, "b"),
        ({"conversation_id": 0}, "0"),
        ({"id": True}, None),
        ({"id": 1.5}, None),
        ({}, None),
    ],
)
def test_identifiers(keys: dict[str, Any], expected: str | None) -> None:
    assert chat(USER, **keys).id == expected


# --- content parts ---------------------------------------------------------------------------


def parts(*content: Any, role: str = "assistant", **extra: Any) -> dict[str, Any]:
    return {"role": role, "content": list(content), **extra}


def test_text_parts_stay_a_list() -> None:
    first = {"type": "text", "text": "a", "image": None, "cache_control": {"type": "ephemeral"}}
    message = parts(first, {"type": "text", "value": "b"}, role="user")
    expected = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(message).messages == [{"role": "user", "content": expected}]
    assert chat(parts(role="user")).messages == [{"role": "user", "content": []}]


def test_reasoning_and_call_parts_move() -> None:
    call = {"type": "tool_call", "value": '{"name": "f", "arguments": {"x": 1}}'}
    message = parts({"type": "reasoning", "value": "a"}, {"type": "reasoning", "text": "b"}, call, call)
    expected = {"role": "assistant", "reasoning_content": "a\nb", "tool_calls": [CALL, CALL]}
    assert chat(message).messages == [expected]
    message = parts({"type": "reasoning", "value": "a"}, {"type": "text", "value": "b"})
    expected = {
        "role": "assistant",
        "content": [{"type": "text", "text": "b"}],
        "reasoning_content": "a",
    }
    assert chat(message).messages == [expected]


@pytest.mark.parametrize(
    ("message", "code", "path"),
    [
        (parts({"type": "image_url", "image_url": {"url": "x"}}), "IFT203", "messages[0].content[0]"),
        (parts({"type": "text", "text": "a"}, {"type": "audio"}), "IFT203", "messages[0].content[1]"),
        (parts("text"), "IFT202", "messages[0].content[0]"),
        (parts({"text": "a"}), "IFT202", "messages[0].content[0].type"),
        (parts({"type": "text"}), "IFT202", "messages[0].content[0].text"),
        (parts({"type": "text", "text": 1}), "IFT202", "messages[0].content[0].text"),
        (parts({"type": "text", "text": "a", "weight": 0}), "IFT205", "messages[0].content[0]"),
        (parts({"type": "tool_call", "value": "f()"}), "IFT204", "messages[0].content[0]"),
        (parts({"type": "tool_call", "value": "[]"}), "IFT204", "messages[0].tool_calls[0]"),
        (parts({"type": "reasoning", "text": "a"}, reasoning_content="b"), "IFT202", "messages[0]"),
        (parts({"type": "tool_call", "value": "{}"}, tool_calls=[CALL]), "IFT202", "messages[0]"),
    ],
)
def test_parts_that_are_refused(message: Any, code: str, path: str) -> None:
    assert refusal({"messages": [message]}) == (code, path)


# --- tools and tool calls --------------------------------------------------------------------

SCHEMA = {"name": "f", "parameters": {"properties": {"x": {"default": None, "enum": [1, None]}}}}
TOOL = {"type": "function", "function": SCHEMA}


@pytest.mark.parametrize(
    "keys",
    [
        {"tools": [TOOL]},
        {"tools": json.dumps([TOOL])},
        {"tools": [json.dumps(TOOL)]},
        {"tools": [SCHEMA]},
        {"tools": [TOOL | {"strict": None, "function": SCHEMA | {"description": None}}]},
        {"functions": [SCHEMA]},
        {"functions": json.dumps([SCHEMA]), "tools": []},
        {"functions": [SCHEMA], "tools": None},
        {"tools": [TOOL], "functions": [{"name": "g"}]},
    ],
)
def test_tools(keys: dict[str, Any]) -> None:
    assert chat(USER, **keys).tools == [TOOL]


@pytest.mark.parametrize("tools", [None, [], "", "[]"])
def test_no_tools(tools: Any) -> None:
    assert chat(USER, tools=tools).tools is None


def test_built_in_tools_are_kept() -> None:
    assert chat(USER, tools=[{"type": "code_interpreter"}]).tools == [{"type": "code_interpreter"}]


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"tools": {"name": "f"}}, "tools"),
        ({"tools": "f(x)"}, "tools"),
        ({"tools": [TOOL, 1]}, "tools[1]"),
        ({"tools": [{}]}, "tools[0]"),
        ({"tools": ["{"]}, "tools[0]"),
        ({"functions": 1}, "functions"),
    ],
)
def test_malformed_tools(keys: dict[str, Any], path: str) -> None:
    assert refusal({"messages": [USER], **keys}) == ("IFT202", path)


def calling(*calls: Any, tool_arguments: ToolArguments = "object") -> Any:
    message = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    [result] = to_conversation({"messages": [message]}, tool_arguments=tool_arguments).messages
    assert set(result) == {"role", "tool_calls"}
    return result["tool_calls"]


def wire(arguments: Any, **extra: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments, **extra}}


BIG = 12345678901234567890123


@pytest.mark.parametrize(
    ("given", "as_object", "as_string"),
    [
        ('{"x": 1, "y": null}', {"x": 1, "y": None}, '{"x": 1, "y": null}'),
        ({"x": "é", "y": None}, {"x": "é", "y": None}, '{"x":"é","y":null}'),
        (f'{{"n": {BIG}}}', {"n": BIG}, f'{{"n": {BIG}}}'),
        ({"n": BIG}, {"n": BIG}, f'{{"n":{BIG}}}'),
        ({}, {}, "{}"),
        (None, {}, "{}"),
    ],
)
def test_tool_arguments(given: Any, as_object: Any, as_string: str) -> None:
    assert calling(wire(given)) == [wire(as_object)]
    assert calling(wire(given), tool_arguments="string") == [wire(as_string)]
    kept = wire(given)
    if given is None:
        del kept["function"]["arguments"]
    assert calling(wire(given), tool_arguments="keep") == [kept]


CALLS: list[Any] = [
    CALL,
    CALL | {"id": None},
    {"name": "f", "arguments": {}},
    {"type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"type": "function", "function": {"name": "f"}},
    {"type": "function", "function": {"name": "", "arguments": {}}},
    {"type": "function", "function": {"name": "f", "arguments": {}, "strict": None}},
    None,
    "f",
]
MORE: list[dict[str, Any]] = [
    {},
    {"name": None},
    {"train": False},
    {"weight": 3},
    {"function_call": {"name": "f"}},
    {"reasoning_content": ["x"]},
]


@given(
    st.sampled_from(["assistant", "user", "", None, 3]),
    st.sampled_from(["", "x", None, [{"type": "text", "text": "x"}], {"a": 1}]),
    st.lists(st.sampled_from(CALLS), max_size=2) | st.sampled_from([None, "x", {}]),
    st.sampled_from(MORE),
    st.sampled_from(["object", "string", "keep"]),
)
def test_messages_that_are_passed_on_with_their_calls_need_no_change(
    role: Any, content: Any, calls: Any, more: dict[str, Any], arguments: ToolArguments
) -> None:
    message = {"role": role, "content": content, "tool_calls": calls, **more}
    if not _is_calling(message, arguments):
        return
    read, flag = _read_message(message, "m", arguments)
    assert read == message and [*read] == [*message] and flag is None
    (passed,), flags = read_messages([message], "m", arguments)
    assert passed is message and not flags


@pytest.mark.parametrize("calls", [[], [CALL], [CALL, CALL]])
def test_messages_with_calls_are_passed_on(calls: list[Any]) -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": calls, "reasoning_content": "y"}
    assert _is_calling(message, "object")
    (passed,), _ = read_messages([message], "m", "object")
    assert passed is message


def test_bare_and_null_padded_calls() -> None:
    assert calling({"name": "f", "arguments": '{"x": 1}'}) == [CALL]
    assert calling({"id": "c", "name": "f", "index": None}) == [
        {"id": "c"} | CALL | {"function": {"name": "f", "arguments": {}}}
    ]
    assert calling(wire({}, output=None)) == [wire({})]


@pytest.mark.parametrize(
    ("calls", "path"),
    [
        ({"name": "f"}, ""),
        (["f"], "[0]"),
        ([{"function": "f"}], "[0].function"),
        ([{"id": "c"}], "[0].function.name"),
        ([{"function": {"name": ""}}], "[0].function.name"),
        ([CALL, {"name": "f", "arguments": "{'x': 1}"}], "[1].function.arguments"),
        ([{"name": "f", "arguments": ""}], "[0].function.arguments"),
        ([{"name": "f", "arguments": "null"}], "[0].function.arguments"),
        ([{"name": "f", "arguments": '{"a":1,"a":2}'}], "[0].function.arguments"),
        ([{"name": "f", "arguments": [1]}], "[0].function.arguments"),
    ],
)
def test_malformed_calls(calls: Any, path: str) -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": calls}
    row = {"messages": [USER, message]}
    assert refusal(row) == ("IFT204", f"messages[1].tool_calls{path}")


def test_older_function_calls() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}}
    result = {"role": "function", "name": "f", "content": "2"}
    assert chat(message, result).messages == [{"role": "assistant", "tool_calls": [CALL]}, result]
    both = message | {"tool_calls": [CALL]}
    assert refusal({"messages": [both]}) == ("IFT204", "messages[0]")
    broken = message | {"function_call": "f"}
    assert refusal({"messages": [broken]}) == ("IFT204", "messages[0].function_call[0]")


def test_tool_results_are_kept() -> None:
    result = {"role": "tool", "tool_call_id": "c", "name": "f", "content": "[1]"}
    assert chat(result).messages == [result]


# --- training flags --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "training", "trainable", "loss", "weight", "loss_weight"])
@pytest.mark.parametrize("value", [True, False, 0, 1, 0.0, 1.0])
def test_flags_leave_the_message(name: str, value: Any) -> None:
    conversation = chat(USER, REPLY | {name: value}, REPLY)
    assert conversation == Conversation([USER, REPLY, REPLY], train=(None, bool(value), None))


def test_flags_that_agree_or_are_null() -> None:
    assert chat(REPLY | {"train": True, "weight": 1, "loss": None}).train == (True,)
    assert chat(REPLY | {"train": None}).train == ()
    assert chat(USER, REPLY).train == ()


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        ({"train": True, "weight": 0}, "messages[0]"),
        ({"weight": 0.5}, "messages[0].weight"),
        ({"weight": 2}, "messages[0].weight"),
        ({"loss_weight": -1.0}, "messages[0].loss_weight"),
        ({"train": "yes"}, "messages[0].train"),
        ({"loss": []}, "messages[0].loss"),
    ],
)
def test_flags_that_are_refused(flags: dict[str, Any], path: str) -> None:
    assert refusal({"messages": [REPLY | flags]}) == ("IFT205", path)


def test_fractional_weight_is_explained() -> None:
    with pytest.raises(RowError, match=r"a weight of 0\.5 can't be kept: a loss mask has 0 and 1 only"):
        chat(REPLY | {"weight": 0.5})


# --- ShareGPT --------------------------------------------------------------------------------


def said(sender: Any, value: Any, **extra: Any) -> dict[str, Any]:
    return {"from": sender, "value": value, **extra}


@pytest.mark.parametrize(
    ("sender", "role"),
    [
        ("human", "user"), ("user", "user"), ("gpt", "assistant"), ("assistant", "assistant"),
        ("chatgpt", "assistant"), ("bard", "assistant"), ("bing", "assistant"), ("system", "system"),
        ("observation", "tool"), ("tool", "tool"),
    ],
)  # fmt: skip
def test_sharegpt_roles(sender: str, role: str) -> None:
    row = {"id": "x_0", "conversations": [said(sender, "a")]}
    assert to_conversation(row) == Conversation([{"role": role, "content": "a"}], id="x_0")


def test_sharegpt_calls_tools_and_system() -> None:
    row = {
        "system": "Be kind.",
        "tools": json.dumps([SCHEMA]),
        "conversations": [
            said("human", "a"),
            said("function_call", '{"name": "f", "arguments": {"x": 1}}'),
            said("observation", '{"y": 2}'),
            said("function_call", '[{"name": "f", "arguments": "{\\"x\\": 1}"}, {"name": "g"}]', weight=0),
        ],
    }
    second = {"type": "function", "function": {"name": "g", "arguments": {}}}
    assert to_conversation(row) == Conversation(
        [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": '{"y": 2}'},
            {"role": "assistant", "tool_calls": [CALL, second]},
        ],
        [TOOL],
        (None, None, None, None, False),
    )


def test_sharegpt_keeps_other_keys() -> None:
    row = {"system": "", "conversations": [said("gpt", "a", name="x", text=None)]}
    assert to_conversation(row).messages == [{"role": "assistant", "content": "a", "name": "x"}]
    row = {"conversations": json.dumps([said("gpt", "a")])}
    assert to_conversation(row).messages == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("row", "code", "path"),
    [
        ({"conversations": []}, "IFT202", "conversations"),
        ({"conversations": 1}, "IFT202", "conversations"),
        ({"conversations": "x"}, "IFT202", "conversations"),
        ({"conversations": ["x"]}, "IFT202", "conversations[0]"),
        ({"conversations": [said("alien", "x")]}, "IFT202", "conversations[0].from"),
        ({"conversations": [said(None, "x")]}, "IFT202", "conversations[0].from"),
        ({"conversations": [said(["human"], "x")]}, "IFT202", "conversations[0].from"),
        ({"conversations": [said("human", None)]}, "IFT202", "conversations[0].value"),
        ({"conversations": [said("human", 1)]}, "IFT202", "conversations[0].value"),
        ({"conversations": [said("function_call", "f()")]}, "IFT204", "conversations[0].value"),
        ({"conversations": [said("function_call", "[]")]}, "IFT204", "conversations[0].value"),
        ({"conversations": [said("function_call", "{}")]}, "IFT204", "conversations[0].value[0].function.name"),
        ({"conversations": [said("gpt", "x", weight=0.5)]}, "IFT205", "conversations[0].weight"),
        ({"conversations": [said("system", "x")], "system": "y"}, "IFT202", "system"),
        ({"conversations": [said("human", "x")], "system": 1}, "IFT202", "system"),
    ],
)
def test_malformed_sharegpt(row: dict[str, Any], code: str, path: str) -> None:
    assert refusal(row) == (code, path)


# --- Alpaca, prompt and completion, text -----------------------------------------------------


def test_alpaca() -> None:
    def prompt_of(**keys: Any) -> str:
        [user, reply] = to_conversation({"output": "c", **keys}).messages
        assert (user["role"], reply) == ("user", {"role": "assistant", "content": "c"})
        return str(user["content"])

    assert prompt_of(instruction="a", input="b") == "a\nb"
    assert prompt_of(instruction="a", input="") == "a"
    assert prompt_of(instruction="a", input=None) == "a"
    assert prompt_of(instruction="a") == "a"
    assert prompt_of(instruction="", input="b") == "b"
    row = {"instruction": "a", "output": "c", "system": "s", "history": [["u", "v"]], "id": 3}
    assert to_conversation(row) == Conversation(
        [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "v"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "c"},
        ],
        id="3",
    )


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"instruction": 1}, "instruction"),
        ({"input": ["x"]}, "input"),
        ({"output": ["good", "bad"]}, "output"),
        ({"history": "x"}, "history"),
        ({"history": [["a", "b"], ["c"]]}, "history[1]"),
        ({"history": [["a", None]]}, "history[0]"),
    ],
)
def test_malformed_alpaca(keys: dict[str, Any], path: str) -> None:
    assert refusal({"instruction": "a", "output": "b", **keys}) == ("IFT202", path)


def test_prompt_and_completion() -> None:
    assert to_conversation({"prompt": "Hi", "completion": "Hello"}) == Conversation([USER, REPLY])
    for prompt, completion in (([USER], [REPLY]), ("Hi", [REPLY]), ([USER], "Hello")):
        row = {"prompt": prompt, "completion": completion, "tools": [TOOL]}
        assert to_conversation(row) == Conversation([USER, REPLY], [TOOL])
    row = {"prompt": [USER, REPLY, USER], "completion": [REPLY, USER, REPLY | {"weight": 0}]}
    conversation = to_conversation(row)
    assert conversation.messages == [USER, REPLY] * 3
    assert conversation.train == (None, False, None, None, None, False)
    row = {"prompt": [USER, REPLY | {"train": True}, USER], "completion": "Hello"}
    assert to_conversation(row).train == (None, True, None, None)


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"prompt": 1, "completion": "x"}, "prompt"),
        ({"prompt": "x", "completion": []}, "completion"),
        ({"prompt": "x", "completion": [{"role": "assistant"}]}, "completion[0].content"),
    ],
)
def test_malformed_prompt_and_completion(row: dict[str, Any], path: str) -> None:
    assert refusal(row) == ("IFT202", path)


def test_text() -> None:
    assert to_conversation({"text": "Once", "id": "t"}) == Conversation(
        [{"role": "assistant", "content": "Once"}], id="t"
    )
    assert refusal({"text": ["x"]}) == ("IFT202", "text")


# --- detection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [USER], "prompt": "x", "completion": "y", "text": "z"}, "messages"),
        ({"messages": [USER], "label": "positive"}, "messages"),
        ({"messages": None, "text": "x"}, "text"),
        ({"conversations": [said("human", "x")], "instruction": "a", "output": "b"}, "sharegpt"),
        ({"conversations": [USER]}, "messages"),
        ({"conversations": []}, "sharegpt"),
        ({"instruction": "a", "output": "b", "text": "c"}, "alpaca"),
        ({"instruction": "a", "output": None, "text": "c"}, "text"),
        ({"prompt": "a", "completion": "b"}, "prompt-completion"),
        ({"prompt": "a"}, None),
        ({"messages": [USER], "chosen": "a", "rejected": "b"}, None),
        ({"messages": [USER], "label": False}, None),
        ({"question": "a", "answer": "b"}, None),
        ({}, None),
    ],
)
def test_detection(row: dict[str, Any], expected: str | None) -> None:
    assert detect_format(row) == expected
    if expected is None:
        assert refusal(row) == ("IFT201", "")


def test_unknown_shapes_name_their_keys() -> None:
    with pytest.raises(RowError) as caught:
        to_conversation({"question": "a", "answer": "b"})
    assert caught.value.hint == f"its keys: question, answer; formats: {', '.join(FORMATS)}"
    with pytest.raises(RowError) as caught:
        to_conversation({"k" * 99: 1} | {str(i): 1 for i in range(20)})
    assert caught.value.hint.startswith(f"its keys: {'k' * 40}…, 0, 1,")
    assert ", 10, …; formats" in caught.value.hint


def test_named_format_overrides_detection() -> None:
    row = {"messages": [USER, REPLY], "label": False, "text": "x"}
    assert to_conversation(row, input_format="messages").messages == [USER, REPLY]
    assert to_conversation(row, input_format="text").messages == [{"role": "assistant", "content": "x"}]
    for name in ("sharegpt", "alpaca", "prompt-completion"):
        assert refusal(row, input_format=name) == ("IFT201", "")
    with pytest.raises(UsageError, match="no input format 'chatml'"):
        to_conversation(row, input_format="chatml")


# --- files -----------------------------------------------------------------------------------


def outcomes(path: Path) -> tuple[Counter[str], list[Conversation]]:
    counts: Counter[str] = Counter()
    conversations = []
    for row in read_rows(str(path)):
        assert isinstance(row, RawRow)
        try:
            conversations.append(to_conversation(decode_row(row.data)))
            counts["ok"] += 1
        except RowError as error:
            counts[error.code] += 1
    return counts, conversations


@pytest.mark.parametrize(
    ("name", "messages", "tools", "calls"),
    [
        ("chat", 30, 0, 0), ("multi_turn", 5, 0, 0), ("sharegpt", 14, 1, 1), ("alpaca", 11, 0, 0),
        ("prompt_completion", 11, 1, 1), ("tools", 20, 5, 5),
    ],
)  # fmt: skip
def test_samples(name: str, messages: int, tools: int, calls: int) -> None:
    counts, conversations = outcomes(ROOT / "samples" / f"{name}.jsonl")
    assert list(counts) == ["ok"]
    assert sum(len(c.messages) for c in conversations) == messages
    assert sum(c.tools is not None for c in conversations) == tools
    assert sum(len(m.get("tool_calls", ())) for c in conversations for m in c.messages) == calls


def test_bad_sample() -> None:
    counts, _ = outcomes(ROOT / "samples" / "bad.jsonl")
    assert counts == {"ok": 10, "IFT102": 1, "IFT203": 1, "IFT201": 1, "IFT107": 1, "IFT103": 1}


@pytest.mark.skipif(not SHAPES.exists(), reason="needs the shared data")
@pytest.mark.parametrize(
    ("name", "code", "rows", "messages", "tools", "calls"),
    [
        ("alpaca_instruction_input_output", "ok", 20, 40, 0, 0),
        ("bfcl_question_function", "IFT201", 20, 0, 0, 0),
        ("content_parts_loss_weight", "ok", 20, 40, 0, 0),
        ("content_parts_reasoning_toolcall", "ok", 20, 104, 18, 26),
        ("history_user_bot", "IFT201", 20, 0, 0, 0),
        ("kto_messages_label", "IFT201", 10, 0, 0, 0),
        ("mt_bench_choices_turns", "IFT201", 20, 0, 0, 0),
        ("openai_wire_string_args_null_content", "ok", 10, 312, 0, 75),
        ("preference_chosen_rejected", "IFT201", 10, 0, 0, 0),
        ("question_response_inline_think", "IFT201", 10, 0, 0, 0),
        ("sharegpt_conversations", "ok", 20, 100, 0, 0),
        ("sharegpt_tools_function_call", "ok", 20, 126, 12, 15),
        ("vicuna_conversations_with_id", "ok", 20, 72, 0, 0),
    ],
)
def test_published_shapes(name: str, code: str, *, rows: int, messages: int, tools: int, calls: int) -> None:
    counts, conversations = outcomes(SHAPES / f"{name}.jsonl")
    assert counts == {code: rows}
    assert sum(len(c.messages) for c in conversations) == messages
    assert sum(c.tools is not None for c in conversations) == tools
    found = [call for c in conversations for m in c.messages for call in m.get("tool_calls", ())]
    assert len(found) == calls
    assert all(isinstance(call["function"]["arguments"], dict) for call in found)
    if name == "content_parts_loss_weight":
        assert {c.train for c in conversations} == {(False, True)}
    if name == "vicuna_conversations_with_id":
        assert conversations[0].id == "identity_239"
