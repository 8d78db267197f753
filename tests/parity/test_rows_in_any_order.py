"""Random rows through one worker, on every real template: what it has learnt of some rows must not change others."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ifttool import worker as worker_module
from ifttool.errors import RowError
from ifttool.io.source import read_rows
from ifttool.ledger import Tally
from ifttool.preparing.preparer import Preparer
from ifttool.recipe import Recipe
from ifttool.records import Conversation
from ifttool.streams import conversations
from ifttool.template.analyser import Analyser
from ifttool.worker import Worker, build_template
from parity.conversations import Message, calling, result
from parity.corpus import SPECIAL_TOKENS, all_names, fast_names, template_text

SKELETONS = 4
BLANK = ("", "", " ", "\n")
PLAIN = ("a", "one", "ok", "ok", "x\n", "  lead", "trail  ", "a\r\nb", "e\u0301 中文。", "user", "assistant")
THOUGHTS = ("<think>a</think>b", "<think>\n\n</think>\n\nyes", "<think>r\nq</think>\n", "</think>", "a</think>")
MARKUP = ('{"a": 1}', '<tool_call>\n{"name": "f"}\n</tool_call>', "text<|im_end|>more", "[INST]")
SAID = (*BLANK, *PLAIN, *THOUGHTS, *MARKUP)
ARGUMENTS: tuple[Any, ...] = ({}, {"a": 1}, {"a": "x", "b": [1, 2]}, {"q": None}, {"a": {"b": True}}, {"t": '中 "q"'})
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"train_on": "final-turn"},
    {"train_on": "user,assistant"},
    {"turn_tokens": (3, None)},
    {"train_reasoning": False},
    {"train_tool_calls": False},
    {"train_end_of_turn": False},
    {"unroll": "auto"},
    {"spans": "completion"},
    {"on_mismatch": "mask"},
    {"boundary": "split"},
    {"append_eos": True},
    {"template_kwargs": {"enable_thinking": False}},
)

Skeleton = list[tuple[str, tuple[str, ...]]]
"""Roles of messages, and what each has beside its role: rows of one skeleton differ in their texts alone."""


def skeleton(chance: random.Random, *, tools: bool) -> Skeleton:
    found: Skeleton = []
    if chance.random() < 0.4:
        found.append((chance.choice(("system", "system", "developer")), ("content",)))
    for number in range(chance.randint(1, 3)):
        if chance.random() < 0.93 or not number:
            found.append(("user", ("content",)))
        if tools and chance.random() < 0.5:
            said = ("none",) if chance.random() < 0.4 else ("content",)
            found += [("assistant", (*said, "call")), ("tool", ("content", "name"))]
        reasons = chance.choice(("reasoning_content", "reasoning", "thinking"))
        found.append(("assistant", ("content", reasons) if chance.random() < 0.2 else ("content",)))
    if chance.random() < 0.1:
        found.append(("user", ("content",)))
    return found


def row(chance: random.Random, messages: Skeleton, *, flags: bool) -> dict[str, Any]:
    found: list[Message] = []
    for role, fields in messages:
        message: Message = {"role": role}
        for field in fields:
            if field == "call":
                message |= calling((chance.choice("fg"), chance.choice(ARGUMENTS)))
            elif field == "name":
                message |= {**result("", chance.choice("fg")), "content": message["content"]}
            elif field == "none":
                message["content"] = None
            else:
                message[field] = chance.choice(SAID)
        if flags and role == "assistant" and chance.random() < 0.5:
            message["train"] = chance.choice((True, False))
        found.append(message)
    return {"messages": found}


def tally_of(recipe: Recipe, path: Path) -> dict[str, Any]:
    """What a worker counts on the rows of a file; with ``verify="all"`` it compares ids and masks of each as well."""
    tally = Tally()
    for _ in Worker(recipe).samples(read_rows(str(path)), tally, lambda *_: None):
        pass
    tally.check()
    return tally.as_json()


def check_spans(recipe: Recipe, path: Path) -> None:
    """What ``ifttool render`` says of each row is what an analyser says of it that has seen no other."""
    template = build_template(recipe, SPECIAL_TOKENS)
    analyser, reference = Analyser(template), Analyser(template, use_plans=False)
    for _, conversation in conversations([str(path)], recipe, Tally(), lambda *_: None):
        turns = recipe.selection.turns(conversation)
        assert said_by(analyser, conversation, turns) == said_by(reference, conversation, turns)


def said_by(analyser: Analyser, conversation: Conversation, turns: Sequence[int]) -> Any:
    try:
        return analyser.locate(conversation, turns)[:2]  # the rest are generation blocks, of other turns as well
    except RowError as error:
        return error.code, error.message


def check_rows(
    text: str, tokenizers: Sequence[str], folder: Path, chance: random.Random, *, tools: bool, count: int
) -> None:
    """Put random rows through a worker on the text of a template."""
    options = chance.choice(OPTIONS)
    flags = chance.random() < 0.1
    recipe = Recipe(
        template=text,
        template_name="test",
        tokenizer=chance.choice(tokenizers),
        date="2026-01-15",
        verify="all",
        allow_text_markers=True,
        **options,
    )
    offered = [{"type": "function", "function": {"name": one, "description": "", "parameters": {}}} for one in "fg"]
    skeletons = [skeleton(chance, tools=tools) for _ in range(SKELETONS)]
    rows = [row(chance, chance.choice(skeletons), flags=flags) for _ in range(count)]
    path = folder / "rows.jsonl"
    lines = [{**one, "tools": offered} if tools else one for one in rows]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    check_spans(recipe, path)
    found = tally_of(recipe, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "Preparer", _without_memory)
        assert found == tally_of(recipe, path)


def _without_memory(*arguments: Any, has_anchors: Any, **named: Any) -> Preparer:
    return Preparer(*arguments, **named, use_plans=False)


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("name", fast_names())
def test_rows_in_any_order(name: str, tools: bool, tokenizers: tuple[str, str], tmp_path: Path) -> None:
    check_rows(template_text(name), tokenizers, tmp_path, random.Random(f"{name} {tools}"), tools=tools, count=40)


@pytest.mark.parity
@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("name", all_names())
def test_rows_in_any_order_on_all_templates(
    name: str, tools: bool, tokenizers: tuple[str, str], tmp_path: Path
) -> None:
    check_rows(template_text(name), tokenizers, tmp_path, random.Random(f"{name} {tools}"), tools=tools, count=60)
