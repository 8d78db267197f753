"""Guards and nodes written as the lines of a small Python function."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ifttool.template.json_text import json_text
from ifttool.template.symbols import (
    MAPS,
    TESTS,
    Cut,
    Fixed,
    Json,
    Key,
    Leaf,
    Map,
    Node,
    Path,
    Structure,
    select_bounds,
    share,
    tag,
)

# Tests that are one Python expression of the joined text and one argument.
_INLINE = {
    "truth": "{0}",
    "eq": "({0} == {1})",
    "contains": "({1} in {0})",
    "within": "({0} in {1})",
    "diverges": "(not ({0}.startswith({1}) or {1}.startswith({0})))",
    "length": "len({0})",
}
_METHODS = frozenset({"startswith", "endswith", "count", "find", "rfind"})


class Compiler:
    """Writes one function line by line; every node is computed once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[Any, str] = {}
        self._given: set[str] = set()
        self._constants: dict[str, Any] = {
            "_tests": TESTS,
            "_maps": MAPS,
            "_tag": tag,
            "_shares": _shares,
            "_json": json_text,
        }

    def function(self, parameters: str, guards: Iterable[Any], result: Callable[[], str]) -> Any:
        """A function that gives ``result`` if every guard holds, else None."""
        for guard in dict.fromkeys(guards):
            self.check(guard)
        wanted = result()
        body = "\n        ".join([*self.lines, f"return {wanted}"])
        source = (
            f"def replay({parameters}):\n    try:\n        "
            f"{body}\n    except (KeyError, IndexError, TypeError, AttributeError, ValueError):\n        return None\n"
        )
        namespace: dict[str, Any] = self._constants
        # The text of the function is made of our own templates and repr()s of constants, never of data.
        exec(compile(source, "<plan>", "exec"), namespace)
        return namespace["replay"]

    def texts(self, nodes: Sequence[Node]) -> Callable[[], str]:
        """The texts of nodes, as a list."""
        return lambda: f"[{', '.join(self.value(node) for node in nodes)}]"

    def text(self, nodes: Sequence[Node]) -> Callable[[], str]:
        """The texts of nodes, joined."""
        return lambda: f"''.join(({''.join(self.value(node) + ', ' for node in nodes)}))"

    def check(self, guard: Any) -> None:
        """Write the lines that give up if a guard doesn't hold."""
        if isinstance(guard, Structure):
            self._check_structure(self._path(guard.path), guard.signature)
            return
        text = self._joined(guard.parts)
        args = [self._joined(arg) if is_nodes(arg) else self.constant(arg) for arg in guard.args]
        if guard.test == "contains" and _is_markup(guard.args[0]):
            # One character is found in a third of the time, and most texts don't even hold the first.
            asked = f"({guard.args[0][0]!r} in {text} and {args[0]} in {text})"
        elif guard.test in _INLINE:
            asked = _INLINE[guard.test].format(text, *args)
        elif guard.test in _METHODS:
            asked = f"{text}.{guard.test}({', '.join(args)})"
        else:
            asked = f"_tests[{guard.test!r}]({', '.join([text, *args])})"
        if guard.answer is True or guard.answer is False:
            self.lines.append(f"if {'not ' if guard.answer else ''}{asked}: return None")
        else:
            self.lines.append(f"if {asked} != {self.constant(guard.answer)}: return None")

    def _check_structure(self, value: str, expected: tuple[Any, ...]) -> None:
        """The same question as :func:`ifttool.template.symbols.signature`, ten times faster on plain JSON data."""
        kind, *items = expected
        self.lines.append(f"if {value}.__class__ is not {kind}: return None")
        if kind == "list":
            self.lines.append(f"if len({value}) != {len(items)}: return None")
            members = [(f"{value}[{index}]", item) for index, item in enumerate(items)]
        else:
            self.lines.append(f"if (*{value},) != {self.constant(tuple(name for name, _ in items))}: return None")
            members = [(f"{value}[{name!r}]", item) for name, item in items]
        for member, item in members:
            if isinstance(item, str):
                self.lines.append(f"if {member}.__class__ is not {item}: return None")
            else:
                self.lines.append(f"if _tag({member}) != {self.constant(item)}: return None")

    def _joined(self, parts: tuple[Node, ...]) -> str:
        if len(parts) == 1:
            return self.value(parts[0])
        return self._named(("joined", parts), lambda: " + ".join(self.value(part) for part in parts) or "''")

    def value(self, node: Node) -> str:
        """The name or literal of a node's text."""
        if isinstance(node, str):
            return self.constant(node)
        if isinstance(node, Key | Fixed):
            return self.constant(node.text)
        return self._named(node, lambda: self._expression(node))

    def _expression(self, node: Leaf | Json | Map | Cut) -> str:
        if isinstance(node, Leaf):
            return self._path(node.path)
        if isinstance(node, Json):
            return f"_json({self._path(node.path)}, {self.constant(node.options)})"
        if isinstance(node, Map):
            args = "".join(f", {self.constant(arg)}" for arg in node.args)
            return f"_maps[{node.function!r}]({self.value(node.node)}{args})"
        if len(node.parts) > 1:
            parts = ", ".join(self.value(part) for part in node.parts)
            shares = self._named(
                ("shares", node.select, node.parts), lambda: f"_shares(({parts}), {self.constant(node.select)})"
            )
            return f"{shares}[{node.part}]"
        return _selection(self.value(node.parts[0]), node.select)

    def _path(self, path: Path) -> str:
        if len(path) == 1:
            return str(path[0])  # the roots are the parameters of the function
        return self._named(("path", path), lambda: f"{self._path(path[:-1])}[{self._key(path[-1])}]")

    def _key(self, key: Any) -> str:
        """One step of a path, as a Python expression."""
        return repr(key)

    def _named(self, key: Any, expression: Callable[[], str]) -> str:
        if key not in self._names:
            value = expression()
            if value in self._given:
                self._names[key] = value
                return value
            name = f"v{len(self._given)}"
            self._names[key] = name
            self._given.add(name)
            self.lines.append(f"{name} = {value}")
        return self._names[key]

    def constant(self, value: Any) -> str:
        """A constant as a literal, or a name for it."""
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return name


def _is_markup(arg: Any) -> bool:
    """Whether an argument is a string such as ``</think>``, whose first character is rare in text."""
    return isinstance(arg, str) and len(arg) > 1 and not (arg[0].isalnum() or arg[0].isspace())


def is_nodes(arg: Any) -> bool:
    """Whether an argument stands for another traced string; plain tuples are ``startswith``'s alternatives."""
    return isinstance(arg, tuple) and any(not isinstance(item, str) for item in arg)


def _selection(text: str, select: tuple[Any, ...]) -> str:
    """A selector on one whole string, as a Python expression."""
    kind = select[0]
    if kind == "slice":
        start, stop = ("" if bound is None else str(bound) for bound in select[1:])
        return f"{text}[{start}:{stop}]"
    if kind == "at":
        return f"{text}[{select[1]}]"
    if kind in ("split", "rsplit"):
        return f"{text}.{kind}({select[1]!r}, {select[2]})[{select[3]}]"
    if kind in ("partition", "rpartition"):
        return f"{text}.{kind}({select[1]!r})[{select[2]}]"
    return f"{text}.{kind}({select[1]!r})"


def _shares(parts: tuple[str, ...], select: tuple[Any, ...]) -> list[str]:
    """What of each part lies in the selected substring of the joined parts."""
    bounds = select_bounds("".join(parts), select)
    lengths = [len(part) for part in parts]
    found = []
    for index, part in enumerate(parts):
        low, high = share(lengths, index, bounds)
        found.append(part[low:high])
    return found
