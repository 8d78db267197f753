"""ShareGPT rows: ``conversations`` of ``{"from": …, "value": …}``."""

from typing import Any

from ifttool.errors import RowError
from ifttool.formats.messages import row_id, used_flags
from ifttool.formats.tool_calls import (
    ToolArguments,
    parse_embedded,
    read_tool_calls,
    read_tools,
    without_nulls,
)
from ifttool.formats.training_flags import pop_training_flag
from ifttool.records import Conversation, Message

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}
_FUNCTION_CALL = "function_call"


def from_sharegpt(row: dict[str, Any], tool_arguments: ToolArguments) -> Conversation:
    """Convert a ShareGPT row.

    A ``function_call`` value is the JSON of one call, or of a list of calls; it becomes an assistant
    message with tool calls. A ``system`` string beside the conversation becomes its first message;
    an empty one is none.
    """
    items = row["conversations"]
    if isinstance(items, str):
        items = parse_embedded(items, "IFT202", "conversations")
    if not isinstance(items, list):
        raise RowError("IFT202", "conversations must be a list", path="conversations")
    if not items:
        raise RowError("IFT202", "the conversation has no messages", path="conversations")
    messages: list[Message] = []
    flags: list[bool | None] = []
    for index, item in enumerate(items):
        message, flag = _read_item(item, f"conversations[{index}]", tool_arguments)
        messages.append(message)
        flags.append(flag)
    if system := read_system(row):
        if messages[0]["role"] == "system":
            raise RowError("IFT202", "the row has two system prompts", path="system")
        messages.insert(0, system)
        flags.insert(0, None)
    return Conversation(messages, read_tools(row), used_flags(flags), row_id(row))


def read_system(row: dict[str, Any]) -> Message | None:
    """Read a top-level ``system`` string as a message; None if it's absent or empty."""
    system = row.get("system")
    if system is None or system == "":
        return None
    if not isinstance(system, str):
        raise RowError("IFT202", "system must be a string", path="system")
    return {"role": "system", "content": system}


def _read_item(item: Any, path: str, tool_arguments: ToolArguments) -> tuple[Message, bool | None]:
    if not isinstance(item, dict):
        raise RowError("IFT202", "a message must be an object", path=path)
    sender, value = item.get("from"), item.get("value")
    role = _ROLES.get(sender) if isinstance(sender, str) else None
    if role is None and sender != _FUNCTION_CALL:
        known = ", ".join((*_ROLES, _FUNCTION_CALL))
        raise RowError("IFT202", f"unknown sender {sender!r:.40}", path=f"{path}.from", hint=f"known: {known}")
    if not isinstance(value, str):
        raise RowError("IFT202", "the value must be a string", path=f"{path}.value")
    extra: Message = {}
    flag = None
    if len(item) > 2:
        extra = without_nulls({k: v for k, v in item.items() if k not in ("from", "value")})
        flag = pop_training_flag(extra, path)
    if role is not None:
        return {**extra, "role": role, "content": value}, flag
    calls = parse_embedded(value, "IFT204", f"{path}.value")
    if not isinstance(calls, list):
        calls = [calls]
    if not calls:
        raise RowError("IFT204", "the function call is empty", path=f"{path}.value")
    calls = read_tool_calls(calls, f"{path}.value", tool_arguments)
    return {**extra, "role": "assistant", "tool_calls": calls}, flag
