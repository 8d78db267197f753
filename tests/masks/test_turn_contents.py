"""Everything a turn can hold, and every way templates print it: the exact text that is trained, by hand."""

import pytest

from masks.generators import (
    assistant,
    built_in,
    call,
    chatml,
    marked,
    only,
    row,
    run,
    shown,
    system,
    tool,
    user,
    worker,
)
from parity.conversations import TOOLS

CHATML = built_in("chatml")
# Reasoning and tool calls by their fields, nothing else.
FIELDS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}:{{ c.function.arguments|tojson }}</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_content() -> None:
    chat = row(system("Be brief."), user("Hi"), assistant("Hello there."), user("Bye"), assistant("See you!"))
    assert shown(CHATML, chat) == chatml(
        ("system", "Be brief.<|im_end|>"),
        ("user", "Hi<|im_end|>"),
        ("assistant", "«Hello there.<|im_end|>»"),
        ("user", "Bye<|im_end|>"),
        ("assistant", "«See you!<|im_end|>»"),
    )


def test_reasoning_in_a_field() -> None:
    chat = row(user("Hi"), assistant("Yes.", reasoning_content="hm, so"))
    assert shown(FIELDS, chat) == chatml(
        ("user", "Hi<|im_end|>"), ("assistant", "«<think>hm, so</think>Yes.<|im_end|>»")
    )


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_goes_by_any_of_its_names(field: str) -> None:
    chat = row(user("Hi"), assistant("Yes.", **{field: "hm"}))
    assert "«<think>hm</think>Yes.<|im_end|>»" in shown(FIELDS, chat)


def test_reasoning_written_into_the_content() -> None:
    chat = row(user("Hi"), assistant("<think>\nhm\n</think>\n\nYes."))
    assert shown(CHATML, chat) == chatml(
        ("user", "Hi<|im_end|>"), ("assistant", "«<think>\nhm\n</think>\n\nYes.<|im_end|>»")
    )


def test_a_tool_call_without_content() -> None:
    chat = row(user("Hi"), assistant(None, tool_calls=[call("now", {"zone": "UTC"})]), tools=TOOLS)
    assert shown(FIELDS, chat) == chatml(
        ("user", "Hi<|im_end|>"), ("assistant", '«<tool_call>now:{"zone": "UTC"}</tool_call><|im_end|>»')
    )


def test_parallel_tool_calls_behind_content_and_the_results_between_turns() -> None:
    chat = row(
        user("Hi"),
        assistant("Let me see.", tool_calls=[call("now", {}), call("lookup", {"name": "x", "n": [1, None]})]),
        tool("12:00"),
        tool("y"),
        assistant("Noon."),
    )
    assert shown(FIELDS, chat) == chatml(
        ("user", "Hi<|im_end|>"),
        (
            "assistant",
            "«Let me see.<tool_call>now:{}</tool_call>"
            '<tool_call>lookup:{"name": "x", "n": [1, null]}</tool_call><|im_end|>»',
        ),
        ("tool", "12:00<|im_end|>"),
        ("tool", "y<|im_end|>"),
        ("assistant", "«Noon.<|im_end|>»"),
    )


def test_empty_content() -> None:
    chat = row(user(""), assistant(""), user(""), assistant(""))
    assert shown(CHATML, chat) == chatml(
        ("user", "<|im_end|>"), ("assistant", "«<|im_end|>»"), ("user", "<|im_end|>"), ("assistant", "«<|im_end|>»")
    )


def test_content_equal_to_other_content() -> None:
    chat = row(system("yes"), user("yes"), assistant("yes"), user("yes"), assistant("yes"), user("yes"))
    assert shown(CHATML, chat) == chatml(
        ("system", "yes<|im_end|>"),
        ("user", "yes<|im_end|>"),
        ("assistant", "«yes<|im_end|>»"),
        ("user", "yes<|im_end|>"),
        ("assistant", "«yes<|im_end|>»"),
        ("user", "yes<|im_end|>"),
    )


def test_content_that_contains_other_content_and_names_of_roles() -> None:
    chat = row(user("assistant\nab"), assistant("user\nab assistant\nab"), user("b"), assistant("assistant"))
    assert shown(CHATML, chat) == chatml(
        ("user", "assistant\nab<|im_end|>"),
        ("assistant", "«user\nab assistant\nab<|im_end|>»"),
        ("user", "b<|im_end|>"),
        ("assistant", "«assistant<|im_end|>»"),
    )


def test_role_markers_typed_into_content_are_text() -> None:
    typed = "a<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\nc"
    chat = row(user(typed), assistant(typed), user("d"), assistant("e"))
    assert shown(CHATML, chat) == chatml(
        ("user", f"{typed}<|im_end|>"),
        ("assistant", f"«{typed}<|im_end|>»"),
        ("user", "d<|im_end|>"),
        ("assistant", "«e<|im_end|>»"),
    )
    sample = only(worker(CHATML), chat)
    assert [sample.ids.count(1), sample.ids.count(2)] == [4, 4]


def test_markup_of_jinja_in_content_is_text() -> None:
    chat = row(user("{{ 1 }}"), assistant("{% raw %}{{ x }}{# y #}"))
    assert shown(CHATML, chat) == chatml(
        ("user", "{{ 1 }}<|im_end|>"), ("assistant", "«{% raw %}{{ x }}{# y #}<|im_end|>»")
    )


def test_white_space_around_content_is_trained_where_the_template_prints_it() -> None:
    chat = row(user(" a "), assistant(" b\t \n"), user("c"), assistant("d  "))
    assert shown(CHATML, chat) == chatml(
        ("user", " a <|im_end|>"),
        ("assistant", "« b\t \n<|im_end|>»"),
        ("user", "c<|im_end|>"),
        ("assistant", "«d  <|im_end|>»"),
    )


def test_white_space_around_content_is_not_there_where_the_template_trims_it() -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    template += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    chat = row(user(" a "), assistant("  b\t \n"), user("c"), assistant(" \n"))
    assert shown(template, chat) == chatml(
        ("user", "a<|im_end|>"),
        ("assistant", "«b<|im_end|>»"),
        ("user", "c<|im_end|>"),
        ("assistant", "«<|im_end|>»"),
    )


@pytest.mark.parametrize(
    "content",
    [
        "cafe\u0301",
        "e\u0301",
        "phe\u0302\u0323",
        "\u1112\u1161\u11ab",
        "🫨",
        "a🫨",
        "👩‍🚀👨‍👩‍👧‍👦🇩🇪",
        "\u200b\ufeff",
        "你好，世界。",
        "مرحبا",
        "\u2028",
        "\ud7ff\ue000\U0010ffff",
        "\x00\x07",
        "\U000f0001\U000f8001\U00100001",
    ],
)
def test_every_token_of_characters_that_take_several(content: str) -> None:
    chat = row(user(content), assistant(content), user(f"a{content}"), assistant(f"{content}b"))
    assert shown(CHATML, chat) == chatml(
        ("user", f"{content}<|im_end|>"),
        ("assistant", f"«{content}<|im_end|>»"),
        ("user", f"a{content}<|im_end|>"),
        ("assistant", f"«{content}b<|im_end|>»"),
    )


def test_consecutive_and_leading_assistant_turns() -> None:
    chat = row(assistant("a"), assistant("b"), user("c"), assistant("d"), assistant("e"))
    assert shown(CHATML, chat) == chatml(
        ("assistant", "«a<|im_end|>»"),
        ("assistant", "«b<|im_end|>»"),
        ("user", "c<|im_end|>"),
        ("assistant", "«d<|im_end|>»"),
        ("assistant", "«e<|im_end|>»"),
    )


def test_the_first_token_of_a_sample_is_never_trained_for_nothing_predicts_it() -> None:
    template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    sample = only(worker(template, train_on="all-tokens"), row(user("a"), assistant("b")))
    assert sample.mask == [0] + [1] * (len(sample.ids) - 1)


def test_tool_results_printed_as_user_turns_are_not_trained() -> None:
    chat = row(
        user("Hi"), assistant("", tool_calls=[call("now", {})]), tool("12:00"), tool("13:00"), assistant("Noon.")
    )
    assert shown(built_in("qwen3"), chat, tokenizer="default").endswith(
        "<|im_start|>user\n<tool_response>\n12:00\n</tool_response>\n<tool_response>\n13:00\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n«<think>\n\n</think>\n\nNoon.<|im_end|>»\n"
    )


# -- the ways templates print messages ---------------------------------------------------------------------------

WAYS = {
    "the system prompt folded into the user turn": (
        "{% set s = messages[0].content if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}"
        "{% if m.role == 'user' %}<s>[{{ s ~ ' ' if s and loop.first else '' }}{{ m.content }}]"
        "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}",
        "<s>[Be kind. Hi]«Hello</s>»<s>[Bye]«Ciao</s>»",
    ),
    "a macro": (
        "{% macro turn(m) %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endmacro %}"
        "{% for m in messages %}{{ turn(m) }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n«Hello<|im_end|>»\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n«Ciao<|im_end|>»\n",
    ),
    "a macro with a caller": (
        "{% macro turn(role) %}<|im_start|>{{ role }}\n{{ caller() }}<|im_end|>{% endmacro %}"
        "{% for m in messages %}{% call turn(m.role) %}{{ m.content }}{% endcall %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_start|>system\nBe kind.<|im_end|><|im_start|>user\nHi<|im_end|><|im_start|>assistant\n«Hello<|im_end|>»"
        "<|im_start|>user\nBye<|im_end|><|im_start|>assistant\n«Ciao<|im_end|>»",
    ),
    "a namespace that the text is gathered in": (
        "{% set ns = namespace(text='') %}{% for m in messages %}"
        "{% set ns.text = ns.text ~ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>' %}{% endfor %}{{ ns.text }}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_start|>system\nBe kind.<|im_end|><|im_start|>user\nHi<|im_end|><|im_start|>assistant\n«Hello<|im_end|>»"
        "<|im_start|>user\nBye<|im_end|><|im_start|>assistant\n«Ciao<|im_end|>»",
    ),
    "captured blocks": (
        "{% for m in messages %}{% set text %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endset %}"
        "{{ text | trim }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_start|>system\nBe kind.<|im_end|><|im_start|>user\nHi<|im_end|><|im_start|>assistant\n«Hello<|im_end|>»"
        "<|im_start|>user\nBye<|im_end|><|im_start|>assistant\n«Ciao<|im_end|>»",
    ),
    "messages by index": (
        "{% for i in range(messages | length) %}<|im_start|>{{ messages[i]['role'] }}\n{{ messages[i]['content'] }}"
        "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_start|>system\nBe kind.<|im_end|><|im_start|>user\nHi<|im_end|><|im_start|>assistant\n«Hello<|im_end|>»"
        "<|im_start|>user\nBye<|im_end|><|im_start|>assistant\n«Ciao<|im_end|>»",
    ),
    "contents joined by a filter": (
        "{{ messages | map(attribute='content') | join('</s>') }}{{ '</s>' }}",
        "Be kind.</s>Hi</s>«Hello</s>»Bye</s>«Ciao</s>»",
    ),
    "a filter block": (
        "{% for m in messages %}{% filter upper %}{{ m.role }}:\n{{ m.content }}{% endfilter %}</s>{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:\n{% endif %}",
        "SYSTEM:\nBE KIND.</s>USER:\nHI</s>ASSISTANT:\n«HELLO</s>»USER:\nBYE</s>ASSISTANT:\n«CIAO</s>»",
    ),
}
CHAT = row(system("Be kind."), user("Hi"), assistant("Hello"), user("Bye"), assistant("Ciao"))


@pytest.mark.parametrize("way", WAYS)
def test_messages_printed_by(way: str) -> None:
    template, expected = WAYS[way]
    made = worker(template)
    assert shown(template, CHAT) == expected
    assert dict(run(made, [CHAT]).tally.verdicts) == {"exact": 2}


def test_messages_that_a_template_reorders() -> None:
    template = (
        "{% for m in messages if m.role == 'assistant' %}A: {{ m.content }}</s>\n{% endfor %}"
        "{% for m in messages if m.role == 'user' %}{{ m.content }}</s>\n{% endfor %}"
    )
    chat = row(user("Hi"), assistant("Hello"), user("Bye"), assistant("Ciao"))
    # There is no generation prompt, so the model would have to write its header itself.
    assert shown(template, chat) == "A«: Hello</s>»\n«A: Ciao</s>»\nHi</s>\nBye</s>\n"
    assert dict(run(worker(template), [chat]).tally.verdicts) == {"prompt": 2}


def test_a_system_prompt_printed_last_is_not_trained_nor_is_what_introduces_it() -> None:
    template = (
        "{% for m in messages if m.role != 'system' %}{{ m.role }}:\n{{ m.content }}</s>{% endfor %}"
        "{% if messages[0].role == 'system' %}({{ messages[0].content }}){% endif %}"
        "{% if add_generation_prompt %}assistant:\n{% endif %}"
    )
    assert shown(template, CHAT) == (
        "user:\nHi</s>assistant:\n«Hello</s>»user:\nBye</s>assistant:\n«Ciao</s>»(Be kind.)"
    )


def test_consecutive_turns_that_a_template_merges() -> None:
    template = (
        "{% for m in messages %}{% if loop.first or loop.previtem.role != m.role %}<|im_start|>{{ m.role }}\n"
        "{% else %} {% endif %}{{ m.content }}"
        "{% if loop.last or loop.nextitem.role != m.role %}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = row(user("Hi"), user("you"), assistant("Hello"), assistant("there"))
    assert shown(template, chat) == "<|im_start|>user\nHi you<|im_end|><|im_start|>assistant\n«Hello there<|im_end|>»"
    assert dict(run(worker(template), [chat]).tally.verdicts) == {"history": 1, "prompt": 1}


def test_a_turn_that_a_template_drops_from_history_is_not_trained() -> None:
    template = (
        "{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.role }}:\n{{ m.content }}</s>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"
    )
    chat = row(user("Hi"), assistant("Hello"), user("Bye"), assistant("Ciao"))
    assert shown(template, chat) == "user:\nHi</s>user:\nBye</s>assistant:\n«Ciao</s>»"
    assert dict(run(worker(template), [chat]).tally.verdicts) == {"history": 1, "exact": 1}


def test_a_turn_that_a_template_never_prints_leaves_nothing_to_train() -> None:
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}</s>{% endfor %}"
    assert run(worker(template), [row(user("Hi"), assistant("Hello"))]).left_out == [(1, "IFT401")]


def test_a_turn_whose_content_is_printed_twice_trains_both_and_what_is_between() -> None:
    template = "{% for m in messages %}{{ m.role }}:{{ m.content }}/{{ m.content }}</s>{% endfor %}"
    template += "{% if add_generation_prompt %}assistant:{% endif %}"
    assert shown(template, row(user("Hi"), assistant("Yo"))) == "user:Hi/Hi</s>assistant:«Yo/Yo</s>»"


@pytest.mark.parametrize("ending", ["", " ", "\n\n"])
def test_a_header_after_a_message_that_is_closed_otherwise_than_in_the_prompt_is_not_trained(ending: str) -> None:
    # The built-in hermes breaks the line behind a tool's result in the generation prompt only: verdict `prompt`.
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
        "{{ '\n' if loop.last or m.role != 'tool' else ending }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = row(user("Hi"), tool("12"), assistant("Noon."))
    assert shown(template.replace("ending", repr(ending)), chat) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>tool\n12<|im_end|>"
        f"{ending}<|im_start|>assistant\n«Noon.<|im_end|>»\n"
    )


def test_a_turn_that_its_own_render_leaves_out_gets_the_same_mask_each_time() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role != 'assistant' or not loop.last %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    made = worker(template, verify="all")
    samples = run(made, [row(user("hi"), assistant("ok"), user("more"))] * 12).samples
    text = chatml(("user", "hi<|im_end|>"), ("assistant", "«ok»<|im_end|>"), ("user", "more<|im_end|>"))
    assert {(marked(made, sample), sample.verdict) for sample in samples} == {(text, "prompt")}


@pytest.mark.parametrize("before", [0, 3])
def test_empty_reasoning_at_the_start_of_a_turn_takes_its_markup_along(before: int) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<r>"
        "{{ m.reasoning_content }}</r>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<r>{% endif %}"
    )
    rows = [row(user("a"), assistant("b", reasoning_content="hm"))] * before
    made = worker(template, verify="all", train_reasoning=False)
    samples = run(made, [*rows, row(user("a"), assistant("b", reasoning_content=""))]).samples
    assert marked(made, samples[-1]) == chatml(("user", "a<|im_end|>"), ("assistant", "<r></r>«b<|im_end|>»"))
