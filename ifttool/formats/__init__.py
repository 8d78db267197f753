"""Published row shapes to one: OpenAI messages.

=================  ==============================================================================
``messages``       ``messages`` (a list, or a JSON string of one), or ``conversations`` whose items
                   have ``role``
``sharegpt``       ``conversations`` whose items have ``from`` and ``value``
``alpaca``         ``instruction`` and ``output``, with optional ``input``, ``system``, ``history``
``prompt-completion``  ``prompt`` and ``completion``: strings, or lists of messages
``text``           ``text``: one assistant message, for base models
=================  ==============================================================================

The order of the table is the order of detection. A null value counts as an absent key. Rows made
for preference training (``chosen``/``rejected``, or a boolean ``label``) are never detected, even
beside ``messages``: which answer is meant to be learned isn't ours to guess. Naming the format
overrides that.
"""

from collections.abc import Callable
from typing import Any

from ifttool.errors import RowError, UsageError
from ifttool.formats.alpaca import from_alpaca
from ifttool.formats.messages import from_messages
from ifttool.formats.prompt_completion import from_prompt_completion, from_text
from ifttool.formats.sharegpt import from_sharegpt
from ifttool.formats.tool_calls import ToolArguments, parse_embedded
from ifttool.records import Conversation

__all__ = ["FORMATS", "ToolArguments", "detect_format", "to_conversation"]

FORMATS: tuple[str, ...] = ("messages", "sharegpt", "alpaca", "prompt-completion", "text")

_CONVERTERS: dict[str, Callable[[dict[str, Any], ToolArguments], Conversation]] = {
    "messages": from_messages,
    "sharegpt": from_sharegpt,
    "alpaca": from_alpaca,
    "prompt-completion": from_prompt_completion,
    "text": from_text,
}
_REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",), ("conversations",)),
    "sharegpt": (("conversations",),),
    "alpaca": (("instruction", "output"),),
    "prompt-completion": (("prompt", "completion"),),
    "text": (("text",),),
}
"""Format → the sets of keys of which it needs one."""

_PREFERENCE_KEYS = frozenset(("chosen", "rejected", "label"))
_SHOWN_KEYS = 12


def detect_format(row: dict[str, Any]) -> str | None:
    """Tell the format of a row by its keys.

    Args:
        row: A decoded row.

    Returns:
        One of ``FORMATS``, or None if the row has another shape or is made for preference training.
    """
    if _is_preference(row):
        return None
    if row.get("messages") is not None:
        return "messages"
    conversations = row.get("conversations")
    if conversations is not None:
        return "messages" if _has_roles(conversations) else "sharegpt"
    for name in ("alpaca", "prompt-completion", "text"):
        if _has_keys(row, name):
            return name
    return None


def to_conversation(
    row: dict[str, Any],
    *,
    input_format: str = "auto",
    tool_arguments: ToolArguments = "object",
) -> Conversation:
    """Normalize a row to a conversation.

    Top-level keys that the format doesn't know are ignored; unknown keys of messages are kept,
    because templates may read them. The row is consumed: the result may share its objects.

    Args:
        row: A decoded row.
        input_format: One of ``FORMATS``, or ``auto`` to detect it for this row.
        tool_arguments: Form of tool call arguments: ``object`` parses JSON strings (of 786 published
            templates 48 raise on strings and 56 escape them twice), ``string`` serializes objects
            (9 templates need that), ``keep`` leaves them.

    Returns:
        The conversation. ``train`` is empty if no message says anything about training.

    Raises:
        RowError: ``IFT201`` unknown shape, ``IFT202`` malformed conversation, ``IFT203`` a part that
            isn't text, ``IFT204`` malformed tool call, ``IFT205`` conflicting training flags.
        UsageError: ``input_format`` isn't one of the above.
    """
    if input_format == "auto":
        name = detect_format(row)
        if name is None:
            raise _unknown_shape(row)
    else:
        name = input_format
        if name not in _CONVERTERS:
            raise UsageError(f"there is no input format {name!r}", hint=f"one of {', '.join(FORMATS)}")
        if not _has_keys(row, name):
            needs = " or ".join("+".join(keys) for keys in _REQUIRED[name])
            raise RowError("IFT201", f"the row isn't {name}: it has no {needs}", hint=_seen(row))
    return _CONVERTERS[name](row, tool_arguments)


def _has_keys(row: dict[str, Any], name: str) -> bool:
    return any(all(row.get(key) is not None for key in keys) for keys in _REQUIRED[name])


def _has_roles(conversations: Any) -> bool:
    if isinstance(conversations, str):
        return _has_roles(parse_embedded(conversations, "IFT202", "conversations"))
    first = conversations[0] if isinstance(conversations, list) and conversations else None
    return isinstance(first, dict) and "role" in first and "from" not in first


def _is_preference(row: dict[str, Any]) -> bool:
    return not _PREFERENCE_KEYS.isdisjoint(row) and (
        "chosen" in row or "rejected" in row or type(row.get("label")) is bool
    )


def _unknown_shape(row: dict[str, Any]) -> RowError:
    if _is_preference(row):
        return RowError(
            "IFT201",
            "the row is made for preference training (chosen, rejected or label)",
            hint=f"{_seen(row)}; to train on its messages anyway, name the --input-format",
        )
    return RowError("IFT201", "unknown row shape", hint=f"{_seen(row)}; formats: {', '.join(FORMATS)}")


def _seen(row: dict[str, Any]) -> str:
    names = [name if len(name) <= 40 else f"{name[:40]}…" for name in list(row)[:_SHOWN_KEYS]]
    more = ", …" if len(row) > _SHOWN_KEYS else ""
    return f"its keys: {', '.join(names) or 'none'}{more}"
