"""``{% generation %}`` tags: what they decide, and what options take out of them."""

from typing import Any

import pytest

from masks.generators import Row, assistant, built_in, call, chatml, marked, row, run, shown, user, worker
from parity.conversations import TOOLS

CHATML = built_in("chatml")
# What TRL's templates mark: from behind the header through the line break behind the end of a turn.
USUAL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}</tool_call>{% endfor %}"
    "<|im_end|>{{ '\n' }}{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Others mark the header as well.
WIDE = (
    USUAL.replace("<|im_start|>{{ m.role }}{{ '\n' }}{% if", "{% if")
    .replace("{% generation %}", "{% generation %}<|im_start|>assistant{{ '\n' }}")
    .replace("{% else %}", "{% else %}<|im_start|>{{ m.role }}{{ '\n' }}")
)
# No tag around a reply without a word.
SOME = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and m.content %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_generation_tags_decide_by_default_and_completions_on_request() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat: Row = row(user("Hi"), assistant("Hello"))
    head = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert shown(template, chat) == f"{head}«Hello»<|im_end|>\n"
    assert shown(template, chat, spans="generation") == f"{head}«Hello»<|im_end|>\n"
    assert shown(template, chat, spans="completion") == f"{head}«Hello<|im_end|>»\n"
    assert run(worker(CHATML, spans="generation"), [chat]).left_out == [(1, "IFT401")]


def test_tags_decide_for_a_template_not_for_a_row_or_a_turn() -> None:
    chat = row(user("hi"), assistant("ok"), user("more"), assistant(""))
    made = worker(SOME, verify="all")
    # By traces, from segments and by plans: what was seen before changes nothing.
    outcome = run(made, [chat] * 20)
    assert {marked(made, sample) for sample in outcome.samples} == {
        chatml(
            ("user", "hi<|im_end|>"),
            ("assistant", "«ok»<|im_end|>"),
            ("user", "more<|im_end|>"),
            ("assistant", "<|im_end|>"),
        )
    }
    assert run(made, [row(user("hi"), assistant(""))]).left_out == [(1, "IFT401")]


def test_a_block_that_prints_another_message_first_is_of_the_reply_in_it() -> None:
    template = USUAL.replace("{% generation %}", "{% generation %}[{{ messages[0].content }}] ")
    chat = row(user("a"), assistant("b"), user("c"), assistant("d"))
    for options in ({}, {"train_on": "final-turn"}):
        first = "«[a] b<|im_end|>\n»" if not options else "[a] b<|im_end|>\n"
        assert shown(template, chat, verify="all", **options) == (
            f"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n{first}"
            "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n«[a] d<|im_end|>\n»"
        )


@pytest.mark.parametrize("template", [USUAL, WIDE])
def test_turns_that_no_model_writes_are_trained_by_their_completions(template: str) -> None:
    chat = row(user("first"), user("second"), assistant("reply"))
    assert shown(template, chat, train_on="user", verify="all") == chatml(
        ("user", "«first<|im_end|>»"), ("user", "«second<|im_end|>»"), ("assistant", "reply<|im_end|>")
    )
    text = shown(template, chat, train_on="user,assistant", verify="all")
    assert text.startswith(chatml(("user", "«first<|im_end|>»"), ("user", "«second<|im_end|>»")))
    assert text.endswith("reply<|im_end|>\n»")


@pytest.mark.parametrize("template", [USUAL, WIDE])
def test_a_turn_left_out_for_its_length_keeps_nothing_that_tags_mark(template: str) -> None:
    short, long = assistant("hm"), assistant("one two three four five six seven")
    text = shown(template, row(user("a"), short, user("b"), long), turn_tokens=(5, None), verify="all")
    assert text.startswith(chatml(("user", "a<|im_end|>"), ("assistant", "hm<|im_end|>"), ("user", "b<|im_end|>")))
    assert text.endswith("one two three four five six seven<|im_end|>\n»")
    alone = run(worker(template, turn_tokens=(5, None), verify="all"), [row(user("a"), short)])
    assert alone.left_out == [(1, "IFT401")]


def test_what_tags_mark_behind_an_end_of_turn_token_goes_with_it() -> None:
    chat = row(user("a"), assistant("b"))
    head = "<|im_start|>user\na<|im_end|>\n"
    options = {"train_end_of_turn": False, "verify": "all"}
    assert shown(USUAL, chat, **options) == f"{head}<|im_start|>assistant\n«b»<|im_end|>\n"
    assert shown(WIDE, chat, **options) == f"{head}«<|im_start|>assistant\nb»<|im_end|>\n"


def test_what_tags_mark_around_tool_calls_goes_with_them() -> None:
    calling = row(user("a"), assistant(None, tool_calls=[call("now", {})]), user("b"), assistant("c"), tools=TOOLS)
    assert shown(WIDE, calling, train_tool_calls=False, verify="all") == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<tool_call>now</tool_call>«<|im_end|>»\n"
        "<|im_start|>user\nb<|im_end|>\n«<|im_start|>assistant\nc<|im_end|>\n»"
    )


TAGGED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    "{% if m.content %}{{ m.content }}{% endif %}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("options", "train", "first", "second"),
    [
        ({}, (True, True), "«<|im_end|>»", "«c<|im_end|>»"),
        ({}, (False, True), "<|im_end|>", "«c<|im_end|>»"),
        ({}, (True, False), "«<|im_end|>»", "c<|im_end|>"),
        ({"train_on": "final-turn"}, (True, True), "<|im_end|>", "«c<|im_end|>»"),
    ],
)
def test_the_generation_block_of_a_reply_without_a_word_is_of_its_turn(
    options: dict[str, Any], train: tuple[bool, bool], first: str, second: str
) -> None:
    chat = row(user("a"), assistant("", train=train[0]), user("b"), assistant("c", train=train[1]))
    assert shown(TAGGED, chat, verify="all", **options) == chatml(
        ("user", "a<|im_end|>"), ("assistant", first), ("user", "b<|im_end|>"), ("assistant", second)
    )


@pytest.mark.parametrize(
    ("train", "first", "last"),
    [((True, True), "«b<|im_end|>»", "«<|endoftext|>»"), ((False, True), "b<|im_end|>", "<|endoftext|>")],
)
def test_a_generation_block_outside_of_every_turn_is_trained_if_no_turn_of_the_model_is_left_out(
    train: tuple[bool, bool], first: str, last: str
) -> None:
    template = TAGGED + "{% if not add_generation_prompt %}{% generation %}<|endoftext|>{% endgeneration %}{% endif %}"
    chat = row(user("a"), assistant("b", train=train[0]), assistant("c", train=train[1]), user("d"))
    turns = [("user", "a<|im_end|>"), ("assistant", first), ("assistant", "«c<|im_end|>»"), ("user", "d<|im_end|>")]
    assert shown(template, chat, verify="all") == chatml(*turns) + last
