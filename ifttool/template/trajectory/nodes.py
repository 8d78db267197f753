"""Nodes whose paths number messages by forms: putting numbers in their place, and back."""

from collections.abc import Callable, Iterator
from typing import Any

from ifttool.template.symbols import Cut, Fixed, Json, Key, Leaf, Map, Node, Path
from ifttool.template.trajectory.affine import Affine


def with_messages(node: Node, number: Callable[[Any], Any]) -> Node:
    """The node with every message index in its paths replaced."""
    if isinstance(node, str):
        return node
    if isinstance(node, Map):
        return Map(node.function, node.args, with_messages(node.node, number))
    if isinstance(node, Cut):
        return Cut(node.select, tuple(with_messages(part, number) for part in node.parts), node.part)
    path = _moved(node.path, number)
    if isinstance(node, Leaf):
        return Leaf(path)
    if isinstance(node, Json):
        return Json(path, node.options)
    return type(node)(path, node.text)


def _moved(path: Path, number: Callable[[Any], Any]) -> Path:
    return (path[0], number(path[1]), *path[2:]) if path[0] == "messages" else path


def resolved(node: Node, value: Callable[[Affine], int]) -> Node:
    """The node with every form replaced by the number it stands for."""
    return with_messages(node, lambda index: value(index) if isinstance(index, Affine) else index)


def message_indices(node: Node) -> Iterator[Any]:
    """Every message index in a node, forms and numbers."""
    if isinstance(node, Map):
        yield from message_indices(node.node)
    elif isinstance(node, Cut):
        for part in node.parts:
            yield from message_indices(part)
    elif isinstance(node, Leaf | Json | Key | Fixed) and node.path[0] == "messages":
        yield node.path[1]
