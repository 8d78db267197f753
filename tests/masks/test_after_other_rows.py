"""Rows that come after others of their shape: what was learnt of those holds only where the data is the same.

Every row is done again by the reference path (``verify="all"``), which remembers nothing and ends the run where ids or
mask differ, and where the text isn't what Jinja prints.
"""

import tracemalloc
from typing import Any

import pytest

from ifttool.preparing.policy import policy_for
from ifttool.recipe import Recipe
from ifttool.template.layout import Layout, TurnLayout
from ifttool.template.symbols import Leaf
from ifttool.template.turns import Verdict
from masks.generators import Row, assistant, built_in, call, marked, only, row, run, system, tool, user, worker

PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
LOOP = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}%s<|im_end|>\n{% endfor %}"
    + PROMPT
)


def chatml(behind: str = "", *, before: str = "") -> str:
    """ChatML with more behind each content, and before all messages."""
    return before + LOOP.replace("%s", behind)


def offered(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "description": "", "parameters": {}}} for name in names]


def calls(*arguments: Any) -> Row:
    messages = [user("a")]
    for one in arguments:
        messages += [assistant("b", tool_calls=[call("f", one)]), tool("c")]
    return row(*messages, assistant("d"))


def agree(template: str, rows: list[Row], **options: Any) -> None:
    made = worker(template, verify="all", **options)
    outcome = run(made, rows)
    assert len(outcome.samples) == len(rows), outcome.left_out


COMPARED = [
    "{{ tools[0] == tools[1] }}",
    "{{ tools[0] != tools[1] }}",
    "{{ tools[1] in tools[:1] }}",
    "{{ [tools[0]] == [tools[1]] }}",
    "{{ {'a': tools[0]} == {'a': tools[1]} }}",
    "{{ tools.count(tools[1]) }}",
    "{{ tools[:1] + tools[1:] }}",
]


@pytest.mark.parametrize("compared", COMPARED)
def test_tools_that_are_compared_with_each_other(compared: str) -> None:
    rows = [row(user("a"), assistant("b"), tools=offered("f", "g")) for _ in range(12)]
    agree(chatml(before=compared), [*rows, row(user("a"), assistant("b"), tools=offered("f", "f"))])


CALLS_COMPARED = [
    "{{ message.tool_calls == messages[1].tool_calls }}",
    "{{ message.tool_calls in [messages[1].tool_calls] }}",
    "{{ messages[1].tool_calls.count(message.tool_calls[0]) }}",
    "{{ (messages[1].tool_calls + message.tool_calls) | length }}",
]


@pytest.mark.parametrize("compared", CALLS_COMPARED)
def test_calls_that_are_compared_with_each_other(compared: str) -> None:
    template = chatml("{% if message.tool_calls %}" + compared + "{% endif %}")
    rows = [calls({"a": "x"}, {"a": "y"}) for _ in range(12)]
    agree(template, [*rows, calls({"a": "x"}, {"a": "x"}), calls({"a": "x"}, {"b": 1}, {"a": "x"})])


POSITIONS = [
    "message.content | length == loop.index0",
    "message.content | length != loop.index",
    "loop.index0 == message.content | length",
    "message.content | length > loop.index0",
    "loop.index0 >= message.content | length",
    "(message.content | length) in [loop.index0]",
    "message.content | length == messages | length",
    "message.content | length == loop.index0 + 1",
    "message.content | length + loop.index0 == 3",
]


@pytest.mark.parametrize("test", POSITIONS)
def test_lengths_of_text_that_are_compared_with_positions(test: str) -> None:
    rows = [row(user("xx"), assistant("yyyy"))] * 4
    others = [row(user(one), assistant(two)) for one in ("", "a", "ab") for two in ("y", "yy", "yyy")]
    agree(chatml("{% if " + test + " %}[A]{% endif %}"), [*rows, *others])


TWICE = (
    "{% for message in messages %}{{ message.content | trim }}{% endfor %}"
    "{% for message in messages %}###{{ message.content }}{% endfor %}"
)
THOUGHT = (
    "{% for message in messages %}###{{ message.content.partition('</think>')[2] }}{% endfor %}"
    "{% for message in messages %}{{ message.content }}{% endfor %}"
)


@pytest.mark.parametrize("template", [TWICE, THOUGHT])
def test_text_of_others_that_says_nothing_inside_of_a_turn_may_say_something_in_another_row(template: str) -> None:
    said = [("a", "a"), ("", "a"), ("", "a"), ("", "a"), (" ", "a"), ("x</think>\n\n", "a"), ("x</think>b", "a")]
    agree(template, [row(user(one), assistant(two)) for one, two in said])


def test_a_turn_that_is_printed_again_behind_the_loop() -> None:
    template = (
        "{% set ns = namespace(s='') %}{% for message in messages %}"
        "{% if message.content in messages[-1].content %}{% set ns.s = messages[loop.index0 - 1].content %}[B]{% endif %}"
        "<|im_start|>{{ message.role }}{{ message.content }}<|im_end|>\n{% endfor %}{{ ns.s }}<|im_start|>assistant\n"
    )
    turns = [(user, assistant)[number % 2]("a") for number in range(7)]
    rows = [row(system("a"), *turns, assistant("<think>x</think>y</think>z"))] * 3
    agree(template, rows, train_on="user,assistant")


@pytest.mark.parametrize("behind", ["{% if tools %}{{ tools | tojson }}{% endif %}", "{{ messages[0].content }}"])
def test_turns_that_overlap_are_told_by_offsets(behind: str) -> None:
    template = (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    agree(template + behind, [row(user("a"), assistant("b"), assistant("c"), tools=offered("f"))] * 3)


def test_what_ends_a_render_may_be_of_the_data() -> None:
    """The end of a turn's own render is looked for by tracing it, if its text says nothing."""
    template = (
        "{% for message in messages %}{% generation %}{{ message.content }}"
        "{% if not loop.last %}<|im_end|>{% endif %}{% endgeneration %}{% if message.role == 'assistant' %}"
        "{{ messages[0].content }}{% endif %}{% endfor %}"
    )
    calm = row(system("ab"), tool("1"), assistant("b", tool_calls=[call("f", {})]), assistant("c"))
    other = row(system("\n<|im_end|>"), tool("x"), assistant("A", tool_calls=[call("f", {})]), assistant("d"))
    agree(template, [calm, calm, calm, other, calm], train_end_of_turn=False)


def test_an_eos_that_is_put_in_moves_what_stands_behind_it() -> None:
    """A template that prints replies again behind the last turn: what it prints there is trained as well."""
    said = [Leaf(("messages", number, "content")) for number in range(4)]
    turns = (
        TurnLayout(1, ((3, 4), (9, 10)), Verdict.EXACT, (9, 10)),
        TurnLayout(3, ((7, 8),), Verdict.EXACT, (0, 0)),
    )
    layout = Layout(
        nodes=("u:", said[0], "a:", said[1], "u:", said[2], "a:", said[3], "|", said[1]),
        blocks=(-1,) * 10,
        roles=("user", "assistant") * 2,
        turns=turns,
        empty=frozenset({1, 9}),
    )
    recipe = Recipe(template="", template_name="test", tokenizer="default", date="2026-01-15", append_eos=True)
    policy = policy_for(layout, recipe, by_blocks=False, eos="</s>")
    assert policy.appended == (8, "</s>")
    assert policy.layout.nodes[8:] == ("</s>", "|", said[1])
    assert policy.trained == ((3, 4), (7, 9), (10, 11))
    assert [turn.end_of_turn for turn in policy.layout.turns] == [(10, 11), (8, 9)]
    assert policy.layout.empty == {1, 10}


CLOSED = [
    ("<{{ message.role }}>\n{{ message.content }}\n</{{ message.role }}>\n", "<assistant>\n", "x\n</assistant>"),
    ("<|{{ message.role }}|>{{ message.content }}<|/{{ message.role }}|>\n", "<|assistant|>", "x<|/assistant|>"),
    (
        "<|{{ message.role }}|>{{ message.content }}<|end {{ message.role }}|><|im_end|>\n",
        "<|assistant|>",
        "x<|end assistant|><|im_end|>",
    ),
]


@pytest.mark.parametrize(("turn", "prompt", "trained"), CLOSED)
def test_the_end_of_a_turn_may_spell_its_role(turn: str, prompt: str, trained: str) -> None:
    template = (
        "{% for message in messages %}" + turn + "{% endfor %}{% if add_generation_prompt %}" + prompt + "{% endif %}"
    )
    made = worker(template, verify="all")
    for chat in (row(user("a"), assistant("x")), row(user("a"), assistant("x"), user("b"), assistant("x"))):
        sample = only(made, chat)
        assert sample.verdict == "exact"
        assert marked(made, sample).count(f"«{trained}»") == len(chat["messages"]) // 2
        assert marked(made, sample).count("«") == len(chat["messages"]) // 2


def test_what_closes_a_message_is_no_prompt_where_a_template_has_none() -> None:
    template = (
        "{% for message in messages %}{% if message.role == 'user' %}<|im_start|>user\n{{ message.content }}<|im_end|>\n"
        "{% else %}<|im_start|>assistant\n{{ message.content }}\n<|im_end|>\n{% endif %}{% endfor %}"
    )
    made = worker(template, verify="all")
    outcome = run(made, [row(user("a"), assistant("x"), user("b"), assistant("y"))])
    (sample,) = outcome.samples
    assert marked(made, sample) == (
        "<|im_start|>user\na<|im_end|>\n«<|im_start|>assistant\nx\n<|im_end|>»\n"
        "<|im_start|>user\nb<|im_end|>\n«<|im_start|>assistant\ny\n<|im_end|>»\n"
    )
    assert outcome.tally.findings["IFT504"] == 0


def test_memory_grows_with_the_turns_and_not_with_their_square() -> None:
    made = worker(built_in("qwen3"))
    run(made, [row(user("a"), assistant("b"))])
    peaks = []
    for turns in (750, 1500):
        messages = [message for turn in range(turns) for message in (user(f"q{turn}"), assistant("a"))]
        tracemalloc.start()
        run(made, [row(*messages)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]
