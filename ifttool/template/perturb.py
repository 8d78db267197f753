"""Another conversation that takes the same way through a template: the net for leaks in a trace."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ifttool.records import Conversation
from ifttool.template.symbols import Path

_PROBE = "\u00b6q"
"""Put into every string. Rare and without meaning in any template, so that most guards keep their answers."""


def perturbed(conversation: Conversation, holds: Callable[[Conversation], bool]) -> Conversation:
    """The same conversation with as many strings changed as the guards allow.

    Args:
        conversation: The conversation a plan was traced on.
        holds: Whether a candidate passes the plan's guards.

    Returns:
        One for which ``holds`` is true; messages and tools in which nothing is changed are the given ones.
    """

    def change(current: Conversation, places: Sequence[Path]) -> Conversation:
        """Change all of some strings if the guards allow it, else as many as halving finds."""
        candidate = _changed(current, places)
        if holds(candidate):
            return candidate
        if len(places) > 1:
            current = change(current, places[: len(places) // 2])
            current = change(current, places[len(places) // 2 :])
        return current

    return change(conversation, _strings(conversation))


def all_changed(conversation: Conversation) -> Conversation:
    """A copy with every string but roles changed, whatever a template makes of it."""
    return _changed(conversation, _strings(conversation))


def _strings(conversation: Conversation) -> list[Path]:
    data = {"messages": conversation.messages, "tools": conversation.tools}
    found: list[Path] = []

    def walk(value: Any, path: Path) -> None:
        if isinstance(value, str):
            if not (len(path) == 3 and path[0] == "messages" and path[2] == "role"):
                found.append(path)
        elif isinstance(value, dict):
            for name, item in value.items():
                walk(item, (*path, name))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, (*path, index))

    walk(data["messages"], ("messages",))
    walk(data["tools"], ("tools",))
    return found


def _changed(conversation: Conversation, places: Iterable[Path]) -> Conversation:
    """The conversation with some strings changed; messages and tools that hold none of them aren't copied."""
    wanted = set(places)

    def walk(value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return _changed_text(value) if path in wanted else value
        if isinstance(value, dict):
            return {name: walk(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def some(name: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        touched = {path[1] for path in wanted if path[0] == name}
        return [walk(item, (name, index)) if index in touched else item for index, item in enumerate(items)]

    return Conversation(
        messages=some("messages", conversation.messages),
        tools=None if conversation.tools is None else some("tools", conversation.tools),
        train=conversation.train,
        id=conversation.id,
    )


def _changed_text(text: str) -> str:
    """The text with the probe in its middle: outer whitespace, prefixes and suffixes stay."""
    middle = len(text) // 2
    return text[:middle] + _PROBE + text[middle:]
