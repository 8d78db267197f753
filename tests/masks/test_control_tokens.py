"""Control tokens come from the template alone, whatever the data holds and however a template puts it together.

The oracle knows nothing of ifttool: a row is rendered by plain Jinja with every string of its data made harmless, and
encoded by ``tokenizers``; the attacked row must hold just as many control tokens of each kind.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ifttool.tokenizer.control import ControlTokens
from masks.expected import JinjaTexts, Tokens
from masks.generators import (
    Row,
    Sample,
    assistant,
    backend,
    built_in,
    cached_tokenizer,
    call,
    marked,
    only,
    row,
    run,
    system,
    tokenizer_names,
    tokenizer_path,
    tool,
    user,
    worker,
)

NAMED_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
LOSSLESS = ("default", "qwen3", "minimind")
PIPED = re.compile(r"<[|｜].*[|｜]>")


def control_ids(tokenizer: str) -> dict[int, str]:
    """Special added tokens, and those that look like ``<|…|>``."""
    added = backend(tokenizer).get_added_tokens_decoder()
    return {
        token_id: token.content for token_id, token in added.items() if token.special or PIPED.fullmatch(token.content)
    }


def counted(tokenizer: str, ids: list[int]) -> Counter[str]:
    """How often each control token is in ids. An unknown character is none, though its id may be one's."""
    control = control_ids(tokenizer)
    return Counter(control[token] for token in ids if token in control and control[token] not in ("<unk>", "[UNK]"))


def harmless(value: Any) -> Any:
    """Data with the same structure and no string of which a control token could be made."""
    if isinstance(value, str):
        return re.sub(r"[^\w\s.,:{}\"]", "x", value)
    if isinstance(value, dict):
        return {harmless(key): harmless(item) for key, item in value.items()}
    return [harmless(item) for item in value] if isinstance(value, list) else value


def harmless_row(attacked: Row) -> Row:
    """Keys of messages and their plain roles stay: the template asks for them."""
    messages = [{key: harmless(item) for key, item in message.items()} for message in attacked["messages"]]
    return {**attacked, "messages": messages, "tools": harmless(attacked.get("tools"))}


# -- channels ----------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def _tool(**fields: Any) -> dict[str, Any]:
    return {**TOOL, "function": {**TOOL["function"], **fields}}


CHANNELS: dict[str, Callable[[str], Row]] = {
    "user content": lambda x: row(user(f"a{x}\n{x}b"), assistant("ok"), user("c"), assistant("d")),
    "assistant content": lambda x: row(user("a"), assistant(f"{x}ok{x}"), user("c"), assistant(f"d{x}")),
    "system prompt": lambda x: row(system(f"be {x} kind {x}"), user("a"), assistant("ok")),
    "role": lambda x: row(user("a"), {"role": f"critic{x}", "content": "b"}, assistant("ok")),
    "name": lambda x: row(user("a", name=f"bob{x}"), assistant("ok")),
    "tool name": lambda x: row(user("a"), assistant("ok"), tools=[_tool(name=f"f{x}")]),
    "tool description": lambda x: row(user("a"), assistant("ok"), tools=[_tool(description=f"{x}does {x}")]),
    "tool parameters": lambda x: row(
        user("a"), assistant("ok"), tools=[_tool(parameters={"type": "object", "properties": {f"k{x}": {"type": x}}})]
    ),
    "call name": lambda x: row(user("a"), assistant("", tool_calls=[call(f"f{x}", {"k": 1})]), tools=[TOOL]),
    "call argument": lambda x: row(user("a"), assistant("", tool_calls=[call("f", {"k": f"v{x}"})]), tools=[TOOL]),
    "key in call arguments": lambda x: row(
        user("a"), assistant("", tool_calls=[call("f", {f"{x}k": {f"n{x}": 1}})]), tools=[TOOL]
    ),
    "tool result": lambda x: row(
        user("a"), assistant("", tool_calls=[call("f", {})]), tool(f"{x}r{x}", name="f"), assistant("ok"), tools=[TOOL]
    ),
    "reasoning": lambda x: row(user("a"), assistant("ok", reasoning_content=f"hm{x}{x}")),
    "a token of the tool's own spelling": lambda x: row(
        user("\U000f0000\U000f0001" + x), assistant(f"\U000f8002{x}ok\U000f0002")
    ),
    "one token cut in two messages": lambda x: row(user(f"a{x[:3]}"), assistant(f"{x[3:]}ok{x[:-1]}"), user(x[-1:])),
}

# Prints everything there is, so that every channel of a row comes through.
EVERYTHING = (
    "{% if tools %}<|im_start|>tools\n{% for t in tools %}{{ t | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ ' ' ~ m.name if m.name else '' }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content if m.content is string else '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _everything(opening: str, closing: str) -> str:
    return EVERYTHING.replace("<|im_start|>", opening).replace("<|im_end|>", closing)


TEMPLATES: dict[str, str] = {
    "everything, ChatML": EVERYTHING,
    "everything, Llama 3": _everything("<|start_header_id|>", "<|eot_id|>"),
    "everything, Mistral": _everything("[INST]", "</s>"),
    "everything, Phi 3": _everything("<|user|>", "<|end|>"),
    "everything, BERT": _everything("[CLS]", "[SEP]"),
    "everything, no markers": _everything("### ", ""),
    **{
        name: built_in(name)
        for name in (
            "alpaca", "chatml", "chatml-strict", "deepseek-r1-distill", "gemma-3", "granite", "hermes", "llama-2",
            "llama-3", "mistral", "mistral-v7", "olmo", "openchat", "phi-3", "phi-4", "qwen2.5", "qwen3", "smollm",
            "tulu", "vicuna", "zephyr",
        )
    },
}  # fmt: skip


def typed(tokenizer: str) -> list[str]:
    """Control tokens to type: those that close and open turns, and a marker in the words of many templates."""
    tokens = list(control_ids(tokenizer).values())
    liked = [token for token in tokens if re.search("end|start|user|INST|SEP|CLS|^</?s>$", token)]
    return [*(liked or tokens)[:3], tokens[-1]]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attacked row, and the oracle's word on it."""

    row: Row
    counts: Counter[str]


def attacks(template: str, tokenizer: str) -> list[Attack]:
    """The rows that the template takes."""
    texts = JinjaTexts(template, {**NAMED_TOKENS, **cached_tokenizer(tokenizer_path(tokenizer)).special_tokens})
    found = []
    for make in CHANNELS.values():
        for token in typed(tokenizer):
            attacked = make(token)
            calm = harmless_row(attacked)
            text = texts(calm["messages"], calm["tools"])
            if text and text.strip() and texts(attacked["messages"], attacked.get("tools")):
                found.append(Attack(attacked, counted(tokenizer, Tokens.of(tokenizer, text).ids)))
    return found


def forged(template: str, tokenizer: str) -> list[tuple[Row, Counter[str], Counter[str]]]:
    """Rows with other control tokens than the oracle's."""
    named = {
        name: token
        for name, token in NAMED_TOKENS.items()
        if name not in cached_tokenizer(tokenizer_path(tokenizer)).special_tokens
    }
    made = worker(template, tokenizer, template_kwargs=named)
    wrong = []
    for attack in attacks(template, tokenizer):
        outcome = run(made, [attack.row])
        for sample in outcome.samples:
            counts = counted(tokenizer, sample.ids)
            if counts != attack.counts:
                wrong.append((attack.row, counts, attack.counts))
        if not outcome.samples and outcome.left_out != [(1, "IFT401")]:
            wrong.append((attack.row, Counter([outcome.left_out[0][1]]), attack.counts))
    return wrong


@pytest.mark.parametrize("template", list(TEMPLATES)[::3])
def test_no_channel_forges_a_control_token(template: str) -> None:
    assert forged(TEMPLATES[template], "default") == []


@pytest.mark.parametrize("tokenizer", tokenizer_names())
def test_no_channel_forges_a_control_token_of_a_real_tokenizer(tokenizer: str) -> None:
    assert forged(EVERYTHING, tokenizer) == []


@pytest.mark.parity
@pytest.mark.parametrize("tokenizer", tokenizer_names())
@pytest.mark.parametrize("template", TEMPLATES)
def test_no_channel_forges_a_control_token_in_any_template(template: str, tokenizer: str) -> None:
    assert forged(TEMPLATES[template], tokenizer) == []


def test_the_attacks_forge_tokens_where_nobody_stops_them() -> None:
    """``allow`` gives what transformers gives: whatever the tokenizer matches."""
    made = worker(EVERYTHING, "default", content_specials="allow")
    succeeded = [
        attack.row
        for attack in attacks(EVERYTHING, "default")
        if counted("default", only(made, attack.row).ids) != attack.counts
    ]
    assert len(succeeded) > len(CHANNELS)
