"""Prompt and completion, as strings or as messages; and plain text."""

from typing import Any

from ifttool.errors import RowError
from ifttool.formats.messages import read_messages, row_id, used_flags
from ifttool.formats.tool_calls import ToolArguments, read_tools
from ifttool.records import Conversation


def from_prompt_completion(row: dict[str, Any], tool_arguments: ToolArguments) -> Conversation:
    """Convert a prompt and completion row.

    Assistant messages of the prompt are masked, unless a flag of their own says otherwise. Those of
    the completion are left to the policy, which trains on assistant messages by default.
    """
    prompt, prompt_flags = _side(row["prompt"], "prompt", "user", tool_arguments)
    completion, flags = _side(row["completion"], "completion", "assistant", tool_arguments)
    masked = [
        False if flag is None and message["role"] == "assistant" else flag
        for message, flag in zip(prompt, prompt_flags or [None] * len(prompt), strict=True)
    ]
    train = used_flags(masked + list(flags or [None] * len(completion)))
    return Conversation(prompt + completion, read_tools(row), train, row_id(row))


def from_text(row: dict[str, Any], tool_arguments: ToolArguments) -> Conversation:
    """Convert plain text to one assistant message; meant for the template ``base``."""
    del tool_arguments  # this format has no tool calls
    text = row["text"]
    if not isinstance(text, str):
        raise RowError("IFT202", "text must be a string", path="text")
    return Conversation([{"role": "assistant", "content": text}], None, (), row_id(row))


def _side(
    value: Any, key: str, role: str, tool_arguments: ToolArguments
) -> tuple[list[dict[str, Any]], tuple[bool | None, ...]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}], ()
    return read_messages(value, key, tool_arguments)
