"""Alpaca rows: ``instruction``, optional ``input``, ``output``."""

from typing import Any

from ifttool.errors import RowError
from ifttool.formats.messages import row_id
from ifttool.formats.sharegpt import read_system
from ifttool.formats.tool_calls import ToolArguments, read_tools
from ifttool.records import Conversation, Message


def from_alpaca(row: dict[str, Any], tool_arguments: ToolArguments) -> Conversation:
    """Convert an Alpaca row.

    The user message is ``instruction`` and, if it isn't empty, ``input`` on the next line: what
    LLaMA-Factory does with its Alpaca sets. ``history`` is a list of ``[user, assistant]`` pairs
    before it. The chat template takes the place of Alpaca's own "Below is an instruction" prompt.
    """
    del tool_arguments  # this format has no tool calls
    messages: list[Message] = []
    if system := read_system(row):
        messages.append(system)
    for user, assistant in _read_history(row.get("history")):
        messages += ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
    prompt = _text(row, "instruction")
    if row.get("input") is not None and (context := _text(row, "input")):
        prompt = f"{prompt}\n{context}" if prompt else context
    messages += (
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": _text(row, "output")},
    )
    return Conversation(messages, read_tools(row), (), row_id(row))


def _read_history(value: Any) -> list[list[str]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError("IFT202", "history must be a list of pairs", path="history")
    for index, pair in enumerate(value):
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) for text in pair):
            raise RowError("IFT202", "must be a pair of strings", path=f"history[{index}]")
    return value


def _text(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise RowError("IFT202", f"{key} must be a string", path=key)
    return value
