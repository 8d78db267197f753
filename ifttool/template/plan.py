"""A trace compiled into small Python functions: check the guards, return the texts of the pieces or the whole text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from ifttool.template.compiler import Compiler
from ifttool.template.layout import Layout
from ifttool.template.symbols import Fixed, Guard, Json, Key, Leaf, Node, Path, Structure

Replay = Callable[[Sequence[Any], Any, Any], list[str] | None]
"""``(messages, tools, kwargs) → texts``; None if a guard doesn't hold."""

Printer = Callable[[Sequence[str]], str | None]
"""``contents → text``, for plain messages of a plan's roles with these contents; None if a guard doesn't hold."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A layout and the functions that fill it in.

    Attributes:
        layout: What it prints.
        guards: What it holds under, each once.
        replay: The texts of its pieces.
        printer: The whole text of plain chats; None if more is read of them than their roles and texts.
    """

    layout: Layout
    guards: Sequence[Guard | Structure]
    replay: Replay
    printer: Printer | None


def compile_plan(layout: Layout, guards: Sequence[Guard | Structure]) -> Plan:
    """Compile a layout and the guards it holds under."""
    guards = tuple(dict.fromkeys(guards))
    fill = _filling(layout, guards)
    # Most of what a plan costs is compiling. If no guard asks for the structure of messages, one function is enough.
    if fill is not None and not any(isinstance(guard, Structure) for guard in guards):
        return Plan(layout, guards, partial(_replayed, fill), fill)
    compiler = Compiler()
    replay = compiler.function("messages, tools, kwargs", guards, compiler.texts(layout.nodes))
    return Plan(layout, guards, replay, fill)


def _filling(layout: Layout, guards: Sequence[Guard | Structure]) -> Any:
    """``(contents, whole=True)``: the text of a layout for plain messages, or the texts of its pieces; else None."""
    compiler = _PlainCompiler(layout.roles)
    try:
        return compiler.function("contents, whole=True", guards, compiler.either(layout.nodes))
    except _NotPlainError:
        return None


def _replayed(fill: Any, messages: Sequence[Any], _tools: Any, _kwargs: Any) -> list[str] | None:
    # Messages that have no content may be among those of which nothing is read.
    texts: list[str] | None = fill([message.get("content") for message in messages], whole=False)
    return texts


class _NotPlainError(Exception):
    """Something else is read than the role and the text of a message."""


class _PlainCompiler(Compiler):
    """Reads plain messages. Roles are constants, and constants beside each other are one.

    Args:
        roles: The role of each message.
    """

    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__()
        self._roles = roles
        # What the template may find wherever it looks into the data: every plain chat has it.
        self._structures = {1: ("list", *["dict"] * len(roles)), 2: ("dict", ("role", "str"), ("content", "str"))}

    def either(self, nodes: Sequence[Node]) -> Callable[[], str]:
        """The texts of nodes joined if ``whole`` is set, else as a list."""
        texts = self.texts(nodes)

        def written() -> str:
            parts: list[str] = []
            for is_constant, some in groupby(map(self._resolved, nodes), key=lambda node: isinstance(node, str)):
                run = list(some)
                parts += (
                    [repr("".join(map(str, run)))] if is_constant else [f"f'{{{self.value(node)}}}'" for node in run]
                )
            # Literals beside each other are one: a tenth faster than joining a tuple.
            joined = " ".join(parts) or "''"
            return f"{joined} if whole else {texts()}"

        return written

    def check(self, guard: Any) -> None:
        if not isinstance(guard, Structure):
            super().check(guard)
        elif guard.path[:1] != ("messages",) or guard.signature != self._structures.get(len(guard.path)):
            raise _NotPlainError

    def value(self, node: Node) -> str:
        if isinstance(node, Key | Json):
            raise _NotPlainError
        return super().value(self._resolved(node))

    def _resolved(self, node: Node) -> Node:
        """A role or other fixed text as the constant it is."""
        if isinstance(node, Leaf) and _field(node.path) == "role":
            return self._roles[int(node.path[1])]
        return node.text if isinstance(node, Fixed) else node

    def _path(self, path: Path) -> str:
        if _field(path) != "content":
            raise _NotPlainError
        return self._named(("path", path), lambda: f"contents[{path[1]}]")


def _field(path: Path) -> str | int | None:
    """The key of a message that a path names; None for other paths."""
    return path[2] if len(path) == 3 and path[0] == "messages" else None
