"""An evaluator of traced renders that shares no code with the tracer, and data that takes the same paths.

A trace claims: wherever its guards give the same answers, the render is what its nodes say. So the nodes, evaluated
on *other* data that passes the guards, must give what Jinja prints for that data. A difference is a miscompile.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import markupsafe

from ifttool.template.chat_template import TracedRender
from ifttool.template.symbols import Cut, Fixed, Guard, Json, Key, Leaf, Map, Node, Path, Structure

_RENDERED = frozenset(["upper", "lower", "capitalize", "title", "casefold", "swapcase", "replace"])

# Strings that flip what templates ask about: blanks, edges, reasoning tags, escapes, line ends, case, normal forms.
FRAGMENTS = (
    "", " ", "\n", "a", "Zz", "  padded ", "\n\nlines\n", "</think>", "<think>\nx\n</think>\n\ny",
    "a</think>b</think>c", "<|im_end|>", "&<>'\"", "\\", "{{ x }}", "e\u0301", "ﬁ ß Σ", "你好", "🫨", "\u2028",
    "12", '{"k": "v", "n": [1, "s"]}', "<b>bold</b>", "it's", "tool_name", "x" * 40, "[TOOL_CALLS]", "string",
    "object", "<tool_response>r</tool_response>",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatData:
    """What a template is rendered on: the roots that paths start from."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None

    def at(self, path: Path) -> Any:
        value: Any = {"messages": self.messages, "tools": self.tools}
        for step in path:
            value = value[step]
        return value


def replayed(render: TracedRender, data: ChatData) -> str:
    """The text that a trace predicts for other data."""
    return "".join(evaluate(piece.node, data) for piece in render.pieces)


def evaluate(node: Node, data: ChatData) -> str:
    """The text of a node on the given data."""
    match node:
        case str():
            return node
        case Leaf(path):
            value = data.at(path)
            if type(value) is not str:
                raise TypeError(f"{path} isn't text")
            return value
        case Key(_, text) | Fixed(_, text):
            return text
        case Json(path, options):
            return _subtree_text(data.at(path), options)
        case Map(function, args, inner):
            return _mapped(function, args, evaluate(inner, data))
        case Cut(select, parts, index):
            return _share(select, [evaluate(part, data) for part in parts], index)
    raise TypeError(f"not a node: {node!r}")


def _subtree_text(value: Any, options: tuple[Any, ...]) -> str:
    if options == ("repr",):
        return repr(value)
    ascii_only, indent, separators, sort_keys = options
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators, sort_keys=sort_keys)


def _mapped(function: str, args: tuple[Any, ...], text: str) -> str:
    if function == "escape":
        return str(markupsafe.escape(text))
    if function == "json":
        return json.dumps(text, ensure_ascii=args[0])
    assert function in _RENDERED
    return str(getattr(text, function)(*args))


def _share(select: tuple[Any, ...], texts: list[str], index: int) -> str:
    """Part ``index`` of a selected substring: the characters are numbered, selected, and those of the part kept."""
    text = "".join(texts)
    first = sum(map(len, texts[:index]))
    low, high = _selected(text, select)
    return text[max(low, first) : max(min(high, first + len(texts[index])), first)] if low < high else ""


def _selected(text: str, select: tuple[Any, ...]) -> tuple[int, int]:
    """Offsets of what ``str``'s own method returns, found by what it leaves out on the left."""
    kind, *args = select
    if kind == "slice":
        numbers = range(len(text))[args[0] : args[1]]
        return (numbers.start, max(numbers.start, numbers.stop))
    if kind == "at":
        number = range(len(text))[args[0]]
        return (number, number + 1)
    if kind in ("strip", "lstrip", "rstrip", "removeprefix", "removesuffix"):
        kept = len(getattr(text, kind)(*args))
        from_left = {"rstrip": 0, "removesuffix": 0, "strip": len(text) - len(text.lstrip(args[0]))}
        start = from_left.get(kind, len(text) - kept) if kept else 0
        return (start, start + kept)
    *how, index = args
    pieces = getattr(text, kind)(*how)
    gap = 0 if kind in ("partition", "rpartition") else len(how[0])
    nth = range(len(pieces))[index]
    start = sum(len(piece) + gap for piece in pieces[:nth])
    return (start, start + len(pieces[nth]))


_ASKED: dict[str, Callable[..., Any]] = {
    "truth": lambda text: text != "",
    "eq": lambda text, other: text == other,
    "lt": lambda text, other: text < other,
    "le": lambda text, other: text < other or text == other,
    "contains": lambda text, other: other in text,
    "within": lambda text, other: text in other,
    "pieces": lambda text, separator, limit: len(text.split(separator, limit)),
    "length": len,
    "length_eq": lambda text, size: len(text) == size,
    "length_lt": lambda text, size: len(text) < size,
    "length_le": lambda text, size: len(text) <= size,
    "is": lambda text, name: getattr(text, name)(),
}


def holds(guard: Guard | Structure, data: ChatData) -> bool:
    """Whether the data gives the answer that the trace saw; False where it hasn't what the guard looks at."""
    try:
        if isinstance(guard, Structure):
            return _structure(data.at(guard.path)) == guard.signature
        return _answer(guard, data) == (guard.answer, type(guard.answer))
    except (KeyError, IndexError, TypeError):
        return False


def _answer(guard: Guard, data: ChatData) -> tuple[Any, type]:
    text = "".join(evaluate(node, data) for node in guard.parts)
    # A tuple is another traced string, but for startswith and endswith it is what Python takes: alternatives.
    literal = guard.test in ("startswith", "endswith")
    args = [
        arg if literal or not isinstance(arg, tuple) else "".join(evaluate(node, data) for node in arg)
        for arg in guard.args
    ]
    asked = _ASKED.get(guard.test)
    answer = asked(text, *args) if asked else getattr(text, guard.test)(*args)
    return answer, type(answer)


def _structure(value: Any) -> tuple[Any, ...]:
    def kind(item: Any) -> Any:
        for known in (str, dict, list):
            if isinstance(item, known):
                return known.__name__
        return (type(item).__name__, repr(item) if isinstance(item, float) else item)

    if isinstance(value, dict):
        return ("dict", *((key, kind(item)) for key, item in value.items()))
    return ("list", *(kind(item) for item in value))


def _paths(node: Node) -> Iterator[Path]:
    match node:
        case Leaf(path) | Json(path, _) | Fixed(path, _) | Key(path, _):
            yield path
        case Map(_, _, inner):
            yield from _paths(inner)
        case Cut(_, parts, _):
            for part in parts:
                yield from _paths(part)


def _concerned(guard: Guard | Structure) -> Iterator[Path]:
    """The places in the data that a guard looks at."""
    if isinstance(guard, Structure):
        yield guard.path
        return
    for node in (*guard.parts, *(node for arg in guard.args if isinstance(arg, tuple) for node in arg)):
        if not isinstance(node, str):
            yield from _paths(node)


def perturbed(render: TracedRender, original: ChatData, seed: int) -> ChatData:
    """Other data of the same shape that passes every guard of a trace.

    All texts change, and in tools and arguments also names and numbers. Where a guard then answers differently, what
    it looks at is put back; so the worst case is the original itself.
    """
    chance = random.Random(seed)
    data = ChatData(
        [_other_message(message, chance) for message in original.messages],
        [_other_value(tool, chance) for tool in original.tools] if original.tools else original.tools,
    )
    for _ in range(200):
        failing = [guard for guard in render.guards if not holds(guard, data)]
        if not failing:
            return data
        for guard in failing:
            for path in _concerned(guard):
                _put_back(data, original, path, keep_texts=isinstance(guard, Structure), chance=chance)
    raise AssertionError(f"guards that the original itself doesn't pass: {failing}")


def _other_text(chance: random.Random) -> str:
    return "".join(chance.choice(FRAGMENTS) for _ in range(chance.choice((1, 1, 2, 3))))


def _other_message(message: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Keys and roles of a message are its shape and stay."""
    return {
        key: value if key == "role" or not isinstance(value, str | list | dict) else _other_value(value, chance)
        for key, value in message.items()
    }


def _other_value(value: Any, chance: random.Random) -> Any:
    if isinstance(value, str):
        return _other_text(chance)
    if isinstance(value, bool) or value is None:
        return chance.choice((True, False, None))
    if isinstance(value, int | float):
        return chance.choice((0, 1, -7, 2.5, 10**20))
    if isinstance(value, dict):
        return {
            (key if chance.random() < 0.8 else _other_text(chance)): _other_value(item, chance)
            for key, item in value.items()
        }
    return [_other_value(item, chance) for item in value for _ in range(chance.choice((1, 1, 1, 2)))]


def _put_back(data: ChatData, original: ChatData, path: Path, *, keep_texts: bool, chance: random.Random) -> None:
    """Restore what stands at a path; a structure gets its keys back but may keep other texts inside."""
    parent: Any = {"messages": data.messages, "tools": data.tools}
    source: Any = {"messages": original.messages, "tools": original.tools}
    for step in path[:-1]:
        try:
            below = parent[step]
        except (KeyError, IndexError):
            below = None
        source = source[step]
        if type(below) is not type(source) or len(below) != len(source):
            below = parent[step] = copy.deepcopy(source)
        parent = below
    value = copy.deepcopy(source[path[-1]])
    if keep_texts and isinstance(value, dict):
        value = {key: _other_text(chance) if isinstance(item, str) else item for key, item in value.items()}
    if keep_texts and isinstance(value, list):
        value = [_other_text(chance) if isinstance(item, str) else item for item in value]
    parent[path[-1]] = value
