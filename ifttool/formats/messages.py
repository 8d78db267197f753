"""OpenAI messages: validated, with the published variants of content and calls made one."""

from typing import Any

from ifttool.errors import RowError
from ifttool.formats.tool_calls import (
    ToolArguments,
    is_read_call,
    parse_embedded,
    read_tool_calls,
    read_tools,
    without_nulls,
)
from ifttool.formats.training_flags import FLAGS, pop_training_flag
from ifttool.records import Conversation, Message

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_PLAIN_KEYS = 2  # role and content
_ID_KEYS = ("id", "uuid", "conversation_id")
_ID_SET = frozenset(_ID_KEYS)
_STRINGS = {str}
_REWRITTEN = FLAGS | {"function_call"}
_READ_FURTHER = _REWRITTEN | {"tool_calls"}


def from_messages(row: dict[str, Any], tool_arguments: ToolArguments) -> Conversation:
    """Convert a ``messages`` row; ``conversations`` with roles counts as ``messages``."""
    key = "messages" if row.get("messages") is not None else "conversations"
    messages, train = read_messages(row[key], key, tool_arguments)
    return Conversation(messages, read_tools(row), train, row_id(row))


def read_messages(
    value: Any, path: str, tool_arguments: ToolArguments
) -> tuple[list[Message], tuple[bool | None, ...]]:
    """Validate and normalize a list of messages, or a JSON string of one.

    Args:
        value: The list. Plain messages in it are passed on as they are, not copied.
        path: Its place in the row.
        tool_arguments: The form of tool call arguments.

    Returns:
        The messages, and one training flag a message (empty if there are none).

    Raises:
        RowError: ``IFT202``-``IFT205``.
    """
    if isinstance(value, str):
        value = parse_embedded(value, "IFT202", path)
    if not isinstance(value, list):
        raise RowError("IFT202", f"{path} must be a list of messages", path=path)
    if not value:
        raise RowError("IFT202", "the conversation has no messages", path=path)
    messages: list[Message] = list(value)
    flags: list[bool | None] = []
    for index, item in enumerate(value):
        # Nearly all messages are a role and a string, or strings only: nothing to check further, nothing to copy.
        if type(item) is dict:
            if len(item) == _PLAIN_KEYS:
                (first, role), (second, content) = item.items()
                if first == "role" and second == "content" and role and type(role) is type(content) is str:
                    continue
            if _is_text(item) or _is_calling(item, tool_arguments):
                continue
        messages[index], flag = _read_message(item, f"{path}[{index}]", tool_arguments)
        if flag is not None:
            flags = flags or [None] * len(value)
            flags[index] = flag
    return messages, tuple(flags)


def _is_text(message: dict[str, Any]) -> bool:
    """Whether a message holds strings only, none of which is to be looked at further, such as the answer of a tool."""
    texts = "content" in message and message.get("role") and {*map(type, message.values())} == _STRINGS
    return bool(texts) and _READ_FURTHER.isdisjoint(message)


def _is_calling(message: dict[str, Any], tool_arguments: ToolArguments) -> bool:
    """Whether a message holds text and tool calls, and nothing to be looked at further or changed."""
    calls = message.get("tool_calls")
    return (
        type(calls) is list
        and type(message.get("content")) is str
        and type(message.get("role")) is str
        and message["role"] != ""
        and None not in message.values()
        and _REWRITTEN.isdisjoint(message)
        and all(is_read_call(call, tool_arguments) for call in calls)
    )


def used_flags(flags: list[bool | None]) -> tuple[bool | None, ...]:
    """Give flags as ``Conversation.train`` wants them: empty if no message has one."""
    return tuple(flags) if flags.count(None) != len(flags) else ()


def row_id(row: dict[str, Any]) -> str | None:
    """Give the row's identifier: the first of ``id``, ``uuid``, ``conversation_id`` that it has."""
    if _ID_SET.isdisjoint(row):  # one look-up for most rows
        return None
    for key in _ID_KEYS:
        value = row.get(key)
        if isinstance(value, str) or type(value) is int:
            return str(value)
    return None


def _read_message(value: Any, path: str, tool_arguments: ToolArguments) -> tuple[Message, bool | None]:
    if not isinstance(value, dict):
        raise RowError("IFT202", "a message must be an object", path=path)
    message = without_nulls(value)
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise RowError("IFT202", "a message needs a role, as a string", path=f"{path}.role")
    flag = pop_training_flag(message, path)
    if isinstance(message.get("content"), list):
        _read_parts(message, path)
    _read_calls(message, path, tool_arguments)
    _check_content(message, path)
    return message, flag


def _check_content(message: Message, path: str) -> None:
    content = message.get("content")
    if isinstance(content, str | list):
        return
    if content is not None:
        # How the model sees an object (which separators?) is the data's decision.
        hint = "write objects as JSON text" if isinstance(content, dict) else ""
        raise RowError("IFT202", "the content must be text", path=f"{path}.content", hint=hint)
    says_otherwise = bool(message.get("tool_calls")) or any(key in message for key in _REASONING_KEYS)
    if message["role"] != "assistant" or not says_otherwise:
        raise RowError(
            "IFT202",
            "the message has no content (only an assistant with tool calls or reasoning may)",
            path=f"{path}.content",
        )


def _read_calls(message: Message, path: str, tool_arguments: ToolArguments) -> None:
    """Normalize ``tool_calls``; the older ``function_call`` becomes one.

    An empty list stays: transformers shows it to templates, and some ask only whether the key is there.
    """
    if "function_call" in message:
        if message.get("tool_calls"):
            raise RowError("IFT204", "both function_call and tool_calls", path=path)
        call = message.pop("function_call")
        calls = read_tool_calls([call], f"{path}.function_call", tool_arguments)
        message["tool_calls"] = calls
    elif "tool_calls" in message:
        message["tool_calls"] = read_tool_calls(message["tool_calls"], f"{path}.tool_calls", tool_arguments)


def _read_parts(message: Message, path: str) -> None:
    """Normalize a list of content parts in place.

    Text parts stay a list of ``{"type": "text", "text": …}``, since templates tell lists from
    strings. ``reasoning`` parts move to ``reasoning_content``, ``tool_call`` parts to
    ``tool_calls``; a message without text parts then has no content.
    """
    texts: list[dict[str, str]] = []
    reasoning: list[str] = []
    calls: list[Any] = []
    for index, part in enumerate(message["content"]):
        place = f"{path}.content[{index}]"
        if not isinstance(part, dict):
            raise RowError("IFT202", "a content part must be an object", path=place)
        if FLAGS & part.keys():
            raise RowError("IFT205", "training flags work on messages, not on parts", path=place)
        kind = part.get("type")
        if kind == "text":
            texts.append({"type": "text", "text": _part_text(part, place)})
        elif kind == "reasoning":
            reasoning.append(_part_text(part, place))
        elif kind == "tool_call":
            value = part.get("value")
            calls.append(parse_embedded(value, "IFT204", place) if isinstance(value, str) else value)
        elif isinstance(kind, str):
            raise RowError("IFT203", f"a part of type {kind!r} isn't text", path=place)
        else:
            raise RowError("IFT202", "a content part needs a type", path=f"{place}.type")
    _move_part(message, "reasoning_content", "\n".join(reasoning), path)
    _move_part(message, "tool_calls", calls, path)
    if texts or not (reasoning or calls):
        message["content"] = texts
    else:
        del message["content"]


def _move_part(message: Message, key: str, value: Any, path: str) -> None:
    if not value:
        return
    if message.get(key):
        raise RowError("IFT202", f"the message has {key} and parts of that kind", path=path)
    message[key] = value


def _part_text(part: dict[str, Any], path: str) -> str:
    text = part.get("text")
    if text is None:
        text = part.get("value")
    if not isinstance(text, str):
        raise RowError("IFT202", "the part has no text", path=f"{path}.text")
    return text
