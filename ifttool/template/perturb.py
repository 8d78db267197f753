"""Another conversation that takes the same way through a template: the net for leaks in a trace."""

from collections.abc import Callable
from typing import Any

from ifttool.records import Conversation
from ifttool.template.symbols import Path

_PROBE = "\u00b6q"
"""Put into every string. Rare and without meaning in any template, so that most guards keep their answers."""


def perturbed(conversation: Conversation, holds: Callable[[Conversation], bool]) -> Conversation:
    """A copy with as many strings changed as the guards allow.

    Args:
        conversation: The conversation a plan was traced on.
        holds: Whether a candidate passes the plan's guards.

    Returns:
        A copy for which ``holds`` is true; at worst the conversation itself, if every string in it is fixed.
    """
    changed: set[Path] = set()

    def change(places: list[Path]) -> None:
        """Change all of some strings if the guards allow it, else as many as halving finds."""
        if holds(_changed(conversation, changed.union(places))):
            changed.update(places)
        elif len(places) > 1:
            change(places[: len(places) // 2])
            change(places[len(places) // 2 :])

    change(list(_strings(conversation)))
    return _changed(conversation, changed)


def all_changed(conversation: Conversation) -> Conversation:
    """A copy with every string but roles changed, whatever a template makes of it."""
    return _changed(conversation, set(_strings(conversation)))


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


def _changed(conversation: Conversation, places: set[Path]) -> Conversation:
    def walk(value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return _changed_text(value) if path in places else value
        if isinstance(value, dict):
            return {name: walk(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        return value

    return Conversation(
        messages=walk(conversation.messages, ("messages",)),
        tools=walk(conversation.tools, ("tools",)),
        train=conversation.train,
        id=conversation.id,
    )


def _changed_text(text: str) -> str:
    """The text with the probe in its middle: outer whitespace, prefixes and suffixes stay."""
    middle = len(text) // 2
    return text[:middle] + _PROBE + text[middle:]
