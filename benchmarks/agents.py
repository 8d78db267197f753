"""Seeded agent trajectories: many messages, tool calls and results in an order that no other trajectory has."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
_MAX_CALLS = 3


@dataclass(slots=True)
class Pool:
    """What real tool dialogues are made of.

    Attributes:
        asked: What users said.
        said: What assistants said.
        used: A call's function, and the text of its result.
        tools: Schema by name.
    """

    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    used: list[tuple[Row, str]] = field(default_factory=list)
    tools: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Pool":
        """Take tool dialogues apart."""
        pool = cls()
        for row in rows:
            pool.tools |= {tool["function"]["name"]: tool for tool in row.get("tools") or []}
            calls: dict[str, Row] = {}
            for message in row["messages"]:
                calls |= {call.get("id", ""): call["function"] for call in message.get("tool_calls") or []}
                text = message.get("content") or ""
                if message["role"] == "tool":
                    call = calls.get(message.get("tool_call_id", ""))
                    if call is not None:
                        pool.used.append((call, text))
                elif text:
                    (pool.asked if message["role"] == "user" else pool.said).append(text)
        return pool


def trajectory(pool: Pool, *, seed: int, messages: int) -> Row:
    """One trajectory of exactly so many messages, the last one by the assistant.

    A turn of the agent is one to three calls with their results, at times with some words before; now and then it
    answers and the user asks on. Length, number of calls and argument names make the shape its own.
    """
    random_ = random.Random(f"{seed}-{messages}")
    made: list[Row] = [_says("system", pool.said, random_), _says("user", pool.asked, random_)]
    names = set()
    while len(made) < messages - 1:
        room = messages - 1 - len(made)
        if made[-1]["role"] == "assistant":
            made.append(_says("user", pool.asked, random_))
        elif room < 2 or random_.random() < 0.2:
            made.append(_says("assistant", pool.said, random_))
        else:
            used = random_.choices(pool.used, k=min(room - 1, random_.randint(1, _MAX_CALLS)))
            names |= {call["name"] for call, _ in used}
            made += _calls(used, number=len(made), words=random_.choice(pool.said) if random_.random() < 0.4 else "")
    if made[-1]["role"] == "assistant":
        made[-1] = _says("user", pool.asked, random_)
    made.append(_says("assistant", pool.said, random_))
    return {"messages": made[:messages], "tools": [pool.tools[name] for name in sorted(names) if name in pool.tools]}


def _says(role: str, texts: list[str], random_: random.Random) -> Row:
    return {"role": role, "content": random_.choice(texts)}


def _calls(used: list[tuple[Row, str]], *, number: int, words: str) -> list[Row]:
    ids = [f"call_{number:04d}_{index}" for index in range(len(used))]
    calls = [{"id": id_, "type": "function", "function": call} for id_, (call, _) in zip(ids, used, strict=True)]
    results = [
        {"role": "tool", "tool_call_id": id_, "name": call["name"], "content": text}
        for id_, (call, text) in zip(ids, used, strict=True)
    ]
    return [{"role": "assistant", "content": words, "tool_calls": calls}, *results]
