"""Conversations put together from segments are what the template makes of them, on every real template."""

import random
from typing import Any

import pytest

from ifttool.errors import RowError
from ifttool.records import Conversation
from ifttool.template.analyser import Analyser
from ifttool.template.layout import located
from ifttool.template.symbols import tag
from ifttool.template.trajectory.assembly import Assembler
from ifttool.template.trajectory.pieced import located_in, located_turns
from ifttool.template.trajectory.program import UnfollowedError
from parity.corpus import all_names, compiled, fast_names

TOOLS = [
    {"type": "function", "function": {"name": name, "description": "", "parameters": {"type": "object"}}}
    for name in ("find", "book", "cancel")
]
SAID = (
    "Yes.",
    "",
    "About 330 metres.",
    " \n padded\n",
    "塔有多高？",
    "<think>\nhm\n</think>\n\nso",
    "a</think>b",
    "x" * 40,
)


def trajectory(chance: random.Random, *, tools: bool, plain: bool) -> Conversation:
    """A conversation whose sequence of messages hardly ever comes twice."""
    messages: list[dict[str, Any]] = []
    if chance.random() < 0.5:
        messages.append({"role": "system", "content": chance.choice(("Be brief.", "", "Help."))})
    for _ in range(chance.randint(1, 6)):
        messages.append({"role": "user", "content": chance.choice(SAID) or "?"})
        while tools and chance.random() < 0.5:
            calls = [
                {
                    "id": f"call_{number}",
                    "type": "function",
                    "function": {"name": "find", "arguments": {"x": str(number)}},
                }
                for number in range(chance.randint(1, 2))
            ]
            messages.append({"role": "assistant", "content": chance.choice(("", "Let me see.")), "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "name": "find", "content": chance.choice(SAID)}
                for call in calls
            ]
        message = {"role": "assistant", "content": chance.choice(SAID)}
        if not plain and chance.random() < 0.3:
            message["reasoning_content"] = chance.choice(("Think.", ""))
        messages.append(message)
    return Conversation(messages, TOOLS[: chance.randint(1, 3)] if tools else None)


def conversations(seed: int, count: int) -> list[Conversation]:
    chance = random.Random(seed)
    return [trajectory(chance, tools=number % 3 == 0, plain=number % 2 == 0) for number in range(count)]


def differing(name: str, *, count: int) -> tuple[list[int], int]:
    """Conversations that differ from the reference, and how many were put together."""
    template = compiled(name)
    assembler = Assembler(template)
    reference = Analyser(template, use_plans=False)
    kinds: dict[Any, int] = {}
    wrong, assembled = [], 0
    if not assembler.can_follow:
        return [], 0
    for number, conversation in enumerate(conversations(7, count)):
        numbers = [
            kinds.setdefault((message["role"], tuple(message), tuple(map(tag, message.values()))), len(kinds))
            for message in conversation.messages
        ]
        turns = [at for at, message in enumerate(conversation.messages) if message["role"] == "assistant"]
        try:
            found = assembler.assemble(conversation, numbers, turns)
        except UnfollowedError:
            continue
        assembled += 1
        try:
            expected = located_turns(located(reference.analyse(conversation, turns)), turns)
        except RowError:
            wrong.append(number)
            continue
        if located_in(assembler, conversation, numbers, found) != expected:
            wrong.append(number)
    return wrong, assembled


@pytest.mark.parametrize("name", fast_names())
def test_trajectories_are_what_the_template_makes_of_them(name: str) -> None:
    assert differing(name, count=12)[0] == []


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_all_trajectories_are_what_the_template_makes_of_them(name: str) -> None:
    assert differing(name, count=40)[0] == []
