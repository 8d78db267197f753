"""Conversations in which every message carries words of its own, so that a trained token tells whose it is."""

import re
from typing import Any

from masks.generators import Row, assistant, call, row, system, tool, user
from parity.conversations import TOOLS

WORD = re.compile(r"zq(\d+)[a-z]zq")
"""A word such as ``zq3azq``: message 3 says it."""


def word(message: int, field: str = "c") -> str:
    return f"zq{message}{field}zq"


def _said(message: int, *, before: str = "", after: str = "") -> str:
    return f"{before}{word(message)} means {word(message)}{after}"


def _chat(roles: str, **edges: Any) -> Row:
    makers = {"s": system, "u": user, "a": assistant}
    return row(*(makers[role](_said(index, **edges)) for index, role in enumerate(roles)))


def _think(message: int, text: str = "") -> str:
    return f"<think>\n{word(message, 'r')} hm\n</think>\n\n{text or _said(message)}"


MARKED: dict[str, Row] = {
    "single": _chat("ua"),
    "system": _chat("sua"),
    "two-rounds": _chat("uaua"),
    "three-rounds-system": _chat("suauaua"),
    "open-end": _chat("suau"),
    "padded": _chat("suaua", before=" \n ", after="\t \n"),
    "symbols": _chat("uaua", before="«¿", after="🫨"),
    "decomposed": _chat("uaua", before="e\u0301 ", after=" phe\u0302"),
    "line-ends": _chat("uaua", before="# T\n\n", after="\r\n```py\nx = 1\n```"),
    "two-assistants": _chat("uaa"),
    "assistant-first": _chat("aua"),
    "two-users": _chat("uua"),
    "late-system": _chat("usa"),
    "empty-turns": row(user(_said(0)), assistant(""), user(_said(2)), assistant(_said(3)), user(""), assistant("")),
    "inline-think": row(user(_said(0)), assistant(_think(1)), user(_said(2)), assistant(_think(3))),
    "reasoning": row(
        user(_said(0)),
        assistant(_said(1), reasoning_content=word(1, "r")),
        user(_said(2)),
        assistant(_said(3), reasoning_content=f"{word(3, 'r')}\nso {word(3, 'r')}"),
    ),
    "tool-use": row(
        system(_said(0)),
        user(_said(1)),
        assistant("", tool_calls=[call("lookup", {"name": word(2)})]),
        tool(f'{{"height": "{word(3)}"}}', name="lookup", tool_call_id="call00000"),
        assistant(_said(4)),
        user(_said(5)),
        assistant(_said(6)),
        tools=TOOLS,
    ),
    "two-calls": row(
        user(_said(0)),
        assistant(_said(1), tool_calls=[call("now", {"k": word(1, "k")}), call("lookup", {"name": word(1, "l")})]),
        tool(word(2), name="now", tool_call_id="call00000"),
        tool(word(3), name="lookup", tool_call_id="call00000"),
        assistant(_said(4)),
        tools=TOOLS,
    ),
    "think-and-call": row(
        user(_said(0)),
        assistant(word(1), reasoning_content=word(1, "r"), tool_calls=[call("lookup", {"name": word(1, "l")})]),
        tool(word(2), name="lookup", tool_call_id="call00000"),
        assistant(_said(3), reasoning_content=word(3, "r")),
        tools=TOOLS,
    ),
}
"""Conversations by name."""
