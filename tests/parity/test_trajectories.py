"""Conversations put together from segments are what the template makes of them, on every real template."""

import copy
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ifttool.errors import RowError
from ifttool.records import Conversation
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, located
from ifttool.template.plan import Plan
from ifttool.template.trajectory.assembly import Assembler
from ifttool.template.trajectory.pieced import Pieced, located_in, located_turns
from ifttool.template.trajectory.program import UnfollowedError
from kinds import Kinds
from memories import Watched
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
    kinds = Kinds()
    wrong, assembled = [], 0
    if not assembler.can_follow:
        return [], 0
    for number, conversation in enumerate(conversations(7, count)):
        numbers = kinds(conversation)
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


# --- plans made of segments ---------------------------------------------------------------------------------

# What templates ask of strings: blanks, edges, reasoning, answers of tools, control tokens, roles, numbers.
NASTY = (
    "",
    " ",
    "\n",
    "word",
    "two words",
    " \n padded\n",
    "\n\nline\nline\n\n",
    "</think>",
    "a</think>b",
    "<think>",
    "<think>\nhm\n</think>\n\nso",
    "<think>\n\n</think>\n\n",
    "\n\n<think>a</think>b</think>c",
    "<tool_response>r</tool_response>",
    "<tool_response>\nr\n</tool_response>\n",
    "<tool_call>{}</tool_call>",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "</s>",
    "[INST]x[/INST]",
    "assistant",
    "/no_think",
    "/think",
    '{"a": "b"}',
    "[1]",
    "12",
    "find",
    "塔",
)
ARGUMENTS: tuple[Any, ...] = (
    {"x": "1"},
    {"x": ""},
    {"x": "</think>", "y": "塔"},
    {"y": "1"},
    {"x": 1},
    {"x": [1, "a"], "y": {"z": None}},
    {},
    {"x": True, "y": 0.5},
)
TOOL_LISTS: tuple[Any, ...] = (TOOLS[:1], TOOLS[:2], TOOLS[::-1], [], [{"name": "find", "parameters": {}}])


def _call(number: int, arguments: Any, name: str = "find") -> dict[str, Any]:
    return {"id": f"call_{number:04}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _asks(**more: Any) -> dict[str, Any]:
    return {"role": "user", "content": "What?", **more}


def _says(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Yes.", **more}


def _calls(count: int = 1, **more: Any) -> dict[str, Any]:
    return _says(tool_calls=[_call(number, {"x": str(number)}) for number in range(count)], **more)


def _answers(**more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "call_0000", "name": "find", "content": "It is.", **more}


def _parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def shapes() -> dict[str, Conversation]:
    """One conversation of each sequence of kinds."""
    system = {"role": "system", "content": "Be brief."}
    return {
        "rounds": Conversation([_asks(), _says(), _asks(), _says(), _asks(), _says()]),
        "system": Conversation([system, _asks(), _says(), _asks(), _says()]),
        "thinking": Conversation([_asks(), _says(reasoning_content="Hm."), _asks(), _says(reasoning_content="So.")]),
        "one-thought": Conversation([system, _asks(), _says(reasoning_content="Hm."), _asks(), _says()], TOOLS[:1]),
        "tools": Conversation(
            [_asks(), _calls(), _answers(), _says(), _asks(), _calls(2), _answers(), _answers(), _says()], TOOLS
        ),
        "agent": Conversation(
            [
                *(system, _asks(), _calls(reasoning_content="Hm."), _answers(), _calls(reasoning_content="")),
                *(_answers(), _says(reasoning_content="So.")),
            ],
            TOOLS[:1],
        ),
        "silent-calls": Conversation(
            [_asks(), {"role": "assistant", "tool_calls": [_call(0, {"x": "1"})]}, _answers(), _says()], TOOLS[:1]
        ),
        "parts": Conversation([_asks(content=_parts("What?")), _says(content=_parts("Yes.")), _asks(), _says()]),
        "roles": Conversation([_asks(role="developer"), _asks(), _says(), _asks(), _answers(role="ipython"), _says()]),
        "no-tools": Conversation([_asks(), _says(), _asks(), _calls(), _answers(), _says(), _asks(), _says()]),
    }


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Paths to all strings, lists and arguments that may be others without the kind of a message being another."""
    if isinstance(value, str) and not (len(path) == 3 and path[2] == "role"):
        yield path
    elif isinstance(value, list):
        if path[-1:] in {("tool_calls",), ("content",)}:
            yield path
        for index, item in enumerate(value):
            yield from _places(item, (*path, index))
    elif isinstance(value, dict):
        if path[-1:] == ("arguments",):
            yield path
        for name, item in value.items():
            yield from _places(item, (*path, name))


def _put(chance: random.Random, data: dict[str, Any], path: tuple[Any, ...]) -> None:
    """Something else of the same type at a path; in a list of calls another number of them."""
    parent: Any = data
    try:
        for step in path[:-1]:
            parent = parent[step]
        old = parent[path[-1]]
    except (KeyError, IndexError, TypeError):
        return  # an earlier change took it away
    if isinstance(parent, str):
        return  # arguments that were an object
    if path[-1] == "tool_calls":
        new: Any = [_call(number, copy.deepcopy(chance.choice(ARGUMENTS))) for number in range(chance.randint(0, 3))]
    elif isinstance(old, list):
        new = _parts(*chance.choices(NASTY, k=chance.randint(0, 2))) + [{"type": "image"}] * (chance.random() < 0.1)
    elif path[-1] == "arguments":
        new = copy.deepcopy(chance.choice((*ARGUMENTS, '{"x": "1"}', "")))
    else:
        new = chance.choice(NASTY) if chance.random() < 0.8 else f"{chance.choice(NASTY)}{chance.choice(NASTY)}"
    parent[path[-1]] = new if not isinstance(old, str) or isinstance(new, str) else str(new)


def other_contents(chance: random.Random, conversation: Conversation, changes: int) -> Conversation:
    """A conversation of the same kinds of messages with something else in some places."""
    data = copy.deepcopy({"messages": conversation.messages, "tools": conversation.tools})
    places = list(_places(data["messages"], ("messages",)))
    for place in chance.sample(places, min(changes, len(places))):
        _put(chance, data, place)
    if data["tools"] is not None and chance.random() < 0.2:
        data["tools"] = copy.deepcopy(chance.choice(TOOL_LISTS))
        for place in _places(data["tools"], ("tools",)):
            if chance.random() < 0.1:
                _put(chance, data, place)
    return Conversation(data["messages"], data["tools"])


class Planned:
    """The plans of one template, and what it makes of conversations."""

    def __init__(self, template: ChatTemplate) -> None:
        self._kwargs = template.kwargs
        self._reference = Analyser(template, use_plans=False)
        self._pieced = Pieced(template, lambda *args: located(self._reference.analyse(*args)))
        self.kinds = Kinds()

    def plan(self, conversation: Conversation, turns: Sequence[int]) -> Plan | None:
        kinds = self.kinds(conversation)
        if not self._pieced.is_open or self._pieced.assemble(conversation, kinds, turns) is None:
            return None
        return self._pieced.plan(conversation, kinds, turns)

    def holds(self, plan: Plan, conversation: Conversation, turns: Sequence[int]) -> bool | None:
        """Whether a plan gives what the template makes of a conversation; None if it isn't the one."""
        texts = plan.replay(conversation.messages, conversation.tools, self._kwargs)
        if not _printed_alike(plan, conversation, texts):
            return False
        if texts is None:
            return None
        try:
            expected = located(self._reference.analyse(conversation, turns))
        except RowError:
            return False
        return located(Analysis(plan.layout, texts)) == expected


def _printed_alike(plan: Plan, conversation: Conversation, texts: Sequence[str] | None) -> bool:
    """Whether a plan prints a plain chat as it replays it; True for what isn't a plain chat."""
    plain = [*conversation.messages] if conversation.tools is None else [{}]
    if any([*map(type, message.values())] != [str, str] or [*message] != ["role", "content"] for message in plain):
        return True
    if plan.printer is None:
        return True
    printed = plan.printer([message["content"] for message in plain])
    return printed == (None if texts is None else "".join(texts))


def misled(name: str, *, sources: int, count: int, seed: int = 11) -> tuple[list[Any], int, int]:
    """Conversations of which a plan says what they aren't; how many plans there were, and conversations they fit."""
    planned = Planned(compiled(name))
    wrong: list[Any] = []
    plans = fitting = 0
    for shape, first in shapes().items():
        chance = random.Random(f"{seed} {shape}")
        for number in range(sources):
            source = other_contents(chance, first, changes=0 if not number else chance.choice((1, 2, 4, 9)))
            # Those a model writes, the last of them, or all that can be trained.
            trained = ("assistant",) if number % 4 != 3 else ("assistant", "user", "tool")
            turns = [at for at, message in enumerate(source.messages) if message["role"] in trained]
            turns = turns[-1:] if number % 4 == 2 else turns
            plan = planned.plan(source, turns)
            if plan is None:
                continue
            plans += 1
            for _ in range(count):
                other = other_contents(chance, source, changes=chance.choice((1, 1, 2, 3, 9)))
                holds = planned.holds(plan, other, turns)
                fitting += holds is not None
                if holds is False:
                    wrong.append((shape, number, source, other))
    return wrong, plans, fitting


@pytest.mark.parametrize("name", fast_names())
def test_plans_made_of_segments_are_what_the_template_makes_of_other_contents(name: str) -> None:
    assert misled(name, sources=2, count=8)[0] == []


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_all_plans_made_of_segments_are_what_the_template_makes_of_other_contents(name: str) -> None:
    assert misled(name, sources=4, count=30)[0] == []


# --- conversations put together as the ones before ------------------------------------------------------------


def misremembered(name: str, *, count: int, seed: int = 13) -> tuple[list[Any], int]:
    """Conversations that come out in another way with a memory than without; how many were put together by memory."""
    assembler = Assembler(compiled(name))
    watched = Watched(assembler)
    wrong: list[Any] = []
    if not assembler.can_follow:
        return [], 0
    for shape, first in shapes().items():
        chance = random.Random(f"{seed} {shape}")
        for number in range(count):
            conversation = other_contents(chance, first, changes=0 if number < 2 else chance.choice((1, 1, 2, 4)))
            trained = ("assistant",) if number % 4 != 3 else ("assistant", "user", "tool")
            turns = [at for at, message in enumerate(conversation.messages) if message["role"] in trained]
            if not watched.agrees(conversation, turns):
                wrong.append((shape, number))
    return wrong, watched.repeated


@pytest.mark.parametrize("name", fast_names())
def test_what_is_remembered_changes_nothing(name: str) -> None:
    assert misremembered(name, count=12)[0] == []


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_what_is_remembered_of_any_template_changes_nothing(name: str) -> None:
    assert misremembered(name, count=40)[0] == []
