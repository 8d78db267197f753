"""Tool definitions and tool calls, in the shapes that are published."""

from typing import Any, Literal

import msgspec

from ifttool.errors import RowError
from ifttool.io.jsonl import decode_value

ToolArguments = Literal["object", "string", "keep"]
"""The form of tool call arguments; see ``ifttool.formats.to_conversation``."""


def read_tools(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Read the tool definitions of a row from ``tools``, or else from the older ``functions``.

    Either is a list or a JSON string of one; its items may be JSON strings too. A bare
    ``{"name": …}`` is wrapped as ``{"type": "function", "function": …}``, which is what the API and
    most templates show; ShareGPT sets publish it bare. Null keys of a tool and of its function are
    dropped; inside ``parameters`` a null is data.

    Returns:
        The tools, or None if there are none.

    Raises:
        RowError: ``IFT202`` for anything else.
    """
    for key in ("tools", "functions"):
        value = row.get(key)
        if value is None or value in ("", []):
            continue
        if isinstance(value, str):
            value = parse_embedded(value, "IFT202", key)
        if not isinstance(value, list):
            raise RowError("IFT202", f"{key} must be a list", path=key)
        return [_read_tool(tool, f"{key}[{i}]") for i, tool in enumerate(value)] or None
    return None


def read_tool_calls(value: Any, path: str, tool_arguments: ToolArguments) -> list[dict[str, Any]]:
    """Normalize the tool calls of a message.

    A bare ``{"name": …, "arguments": …}`` is wrapped as in ``read_tools``. Missing arguments become
    an empty object, since templates print them without asking.

    Args:
        value: The list under ``tool_calls``.
        path: Its place in the row.
        tool_arguments: The form of the arguments.

    Raises:
        RowError: ``IFT204``.
    """
    if not isinstance(value, list):
        raise RowError("IFT204", "tool_calls must be a list", path=path)
    return [_read_call(call, f"{path}[{i}]", tool_arguments) for i, call in enumerate(value)]


def parse_embedded(text: str, code: str, path: str) -> Any:
    """Decode JSON that sits in a string, as strictly as a row.

    Raises:
        RowError: With ``code`` and ``path``.
    """
    try:
        return decode_value(text)
    except RowError as error:
        raise RowError(code, f"the string isn't JSON: {error.message}", path=path) from None


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """Copy an object without its null keys (this level only)."""
    if None not in value.values():
        return value.copy()
    return {key: item for key, item in value.items() if item is not None}


def _read_tool(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, str):
        value = parse_embedded(value, "IFT202", path)
    if not isinstance(value, dict):
        raise RowError("IFT202", "a tool must be an object", path=path)
    if _has_function(value):
        return value
    tool = without_nulls(value)
    function = tool.get("function")
    if isinstance(function, dict):
        tool["function"] = without_nulls(function)
        return tool
    if isinstance(tool.get("name"), str):
        return {"type": "function", "function": tool}
    if isinstance(tool.get("type"), str):  # a built-in tool, such as {"type": "code_interpreter"}
        return tool
    raise RowError("IFT202", "a tool needs a function or a name", path=path)


def _has_function(value: dict[str, Any]) -> bool:
    """Whether there is nothing to change about the outer shape of a tool or a call."""
    function = value.get("function")
    return type(function) is dict and None not in function.values() and None not in value.values()


def is_read_call(value: Any, tool_arguments: ToolArguments) -> bool:
    """Whether a tool call is in the form already that :func:`read_tool_calls` gives it."""
    if tool_arguments != "object" or type(value) is not dict or not _has_function(value):
        return False
    function = value["function"]
    return type(function.get("arguments")) is dict and type(function.get("name")) is str and function["name"] != ""


def _read_call(value: Any, path: str, tool_arguments: ToolArguments) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError("IFT204", "a tool call must be an object", path=path)
    if is_read_call(value, tool_arguments):
        return value
    call = without_nulls(value)
    if "function" not in call:
        own: dict[str, Any] = {key: call.pop(key) for key in ("name", "arguments") if key in call}
        call = {**call, "type": "function", "function": own}
    function = call["function"]
    path = f"{path}.function"
    if not isinstance(function, dict):
        raise RowError("IFT204", "a tool call's function must be an object", path=path)
    function = call["function"] = without_nulls(function)
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise RowError("IFT204", "a tool call needs the name of a function", path=f"{path}.name")
    if tool_arguments == "keep":
        return call
    given = function.get("arguments")
    arguments = _read_arguments(given, f"{path}.arguments")
    if tool_arguments == "object":
        function["arguments"] = arguments
    elif not isinstance(given, str):
        # A string is the model's own text and stays; objects are written as the API writes them.
        function["arguments"] = msgspec.json.encode(arguments).decode()
    return call


def _read_arguments(value: Any, path: str) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        value = parse_embedded(value, "IFT204", path)
    if not isinstance(value, dict):
        raise RowError("IFT204", "the arguments must be an object", path=path)
    return value
