"""A traced string behaves as ``str`` does, and what it gives holds for every content that passes its guards."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifttool.template.symbols import Piece
from ifttool.template.traced_containers import wrap
from ifttool.template.tracing import Trace, TracedStr, join
from parity.replay import ChatData, evaluate, holds

EXAMPLES = 12
# Few characters, so that searches hit: case pairs, blanks, a ligature and a final sigma, markup, what json escapes.
TEXTS = st.text("aAb \n\t<>&'\"%{}0Σßﬁ\u2028", max_size=6)
ARGUMENTS = st.one_of(TEXTS, st.sampled_from(["a", " ", "ab", "A", "\n", ""]))
NUMBERS = st.integers(-7, 7)
BOUNDS = st.one_of(st.none(), NUMBERS)

Operation = Callable[..., Any]

UNARY: dict[str, Operation] = {
    **{
        name: (lambda text, name=name: getattr(text, name)())
        for name in [
            "upper",
            "lower",
            "capitalize",
            "title",
            "casefold",
            "swapcase",
            "splitlines",
            "split",
            "rsplit",
            "strip",
            "lstrip",
            "rstrip",
            "encode",
            "isalnum",
            "isalpha",
            "isascii",
            "isdecimal",
            "isdigit",
            "isidentifier",
            "islower",
            "isnumeric",
            "isprintable",
            "isspace",
            "istitle",
            "isupper",
            "expandtabs",
            "__len__",
            "__bool__",
        ]
        if hasattr(str, name)
    },
    "bool": bool,
    "len": len,
    "list": list,
    "tuple": tuple,
    "str": str,
    "reversed": lambda text: list(reversed(text)),
    "format": lambda text: format(text, ">9"),
    "f-string": lambda text: f"<{text}>",
    "in list": lambda text: text in ["a", "", "ab"],
    "in dict": lambda text: text in {"a": 1, "": 2},
    "repr": repr,
    "list repr": lambda text: repr([text]),
    "list str": lambda text: str([text]),
    "unpacked": lambda text: [*text],
    "keepends": lambda text: text.splitlines(True),
}
WITH_TEXT: dict[str, Operation] = {
    **{
        name: (lambda text, other, name=name: getattr(text, name)(other))
        for name in [
            "removeprefix",
            "removesuffix",
            "split",
            "rsplit",
            "partition",
            "rpartition",
            "startswith",
            "endswith",
            "count",
            "find",
            "rfind",
            "index",
            "rindex",
            "strip",
            "lstrip",
            "rstrip",
        ]
    },
    "==": lambda text, other: text == other,
    "!=": lambda text, other: text != other,
    "<": lambda text, other: text < other,
    "<=": lambda text, other: text <= other,
    ">": lambda text, other: text > other,
    ">=": lambda text, other: text >= other,
    "reflected ==": lambda text, other: other == text,
    "reflected <": lambda text, other: other < text,
    "contains": lambda text, other: other in text,
    "+": lambda text, other: text + other,
    "reflected +": lambda text, other: other + text,
    "join": lambda text, other: text.join(["x", other, "y"]),
    "join nothing": lambda text, other: text.join([]),
    "equal to a list": lambda text, other: text == [other],
    "startswith one of": lambda text, other: text.startswith((other, "A")),
    "last of split": lambda text, other: text.split(other)[-1],
    "first of split": lambda text, other: text.split(other)[0],
    "reversed split": lambda text, other: list(reversed(text.split(other))),
    "size of split": lambda text, other: len(text.split(other)),
    "split + list": lambda text, other: text.split(other) + ["x"],  # noqa: RUF005 - `+` is what is tested
    "list + split": lambda text, other: ["x"] + text.split(other),  # noqa: RUF005
    "split * 2": lambda text, other: text.split(other) * 2,
    "split == list": lambda text, other: text.split(other) == ["a", "b"],
    "list == split": lambda text, other: text.split(other) == ["a", "b"],
    "split < list": lambda text, other: text.split(other) < ["a", "b"],
    "in split": lambda text, other: "a" in text.split(other),
    "split copy": lambda text, other: text.split(other).copy(),
    "split count": lambda text, other: text.split(other).count("a"),
    "split index": lambda text, other: text.split(other).index("a"),
    "split slice": lambda text, other: text.split(other)[1:],
    "second of split": lambda text, other: text.split(other)[1],
}
WITH_NUMBERS: dict[str, Operation] = {
    "slice": lambda text, low, high: text[low:high],
    "stepped slice": lambda text, low, high: text[low:high:2],
    "index": lambda text, low, _: text[low],
    "*": lambda text, low, _: text * low,
    "reflected *": lambda text, low, _: low * text,
    "+ number": lambda text, low, _: text + low,
    "< number": lambda text, low, _: text < low,
    "== number": lambda text, low, _: text == low,
    "in": lambda text, low, _: low in text,
    "zfill": lambda text, low, _: text.zfill(low),
    "center": lambda text, low, _: text.center(low, "-"),
    "ljust": lambda text, low, _: text.ljust(low),
    "rjust": lambda text, low, _: text.rjust(low),
    "find from": lambda text, low, high: text.find("a", low, high),
    "startswith from": lambda text, low, high: text.startswith("a", low, high),
    "split some": lambda text, low, _: text.split("a", low),
    "rsplit some": lambda text, low, _: text.rsplit("a", low),
    "split blanks": lambda text, low, _: text.split(None, low),
}


def outcome(operation: Operation, *args: Any) -> Any:
    """What an operation gives, or the type of what it raises."""
    try:
        return seen(operation(*args))
    except Exception as error:
        return type(error)


def seen(value: Any) -> Any:
    """A result as a template could see it: containers opened up, traced text as its pieces."""
    if isinstance(value, TracedStr):
        assert "".join(piece.text for piece in value.pieces) == str.__str__(value)
        return value.pieces
    if isinstance(value, list | tuple):
        return [type(value).__mro__[-2].__name__, *(seen(item) for item in value)]
    return value


def as_text(value: Any, data: ChatData | None) -> Any:
    """A seen result with its pieces turned to text: their own, or what their nodes say of other data."""
    if isinstance(value, tuple) and (not value or isinstance(value[0], Piece)):
        return "".join(piece.text if data is None else evaluate(piece.node, data) for piece in value)
    if isinstance(value, list):
        return [as_text(item, data) for item in value]
    return value


def data_of(leaves: list[str]) -> ChatData:
    return ChatData([{"role": "user", "content": leaves}])


def traced(trace: Trace, leaves: list[str], layout: list[int | str]) -> TracedStr:
    """Leaves and constants in the order of a layout (a number is a leaf), joined."""
    parts = [
        item if isinstance(item, str) else wrap(trace, leaves[item], ("messages", 0, "content", item))
        for item in layout
    ]
    return join(trace, "", parts)


def plain(leaves: list[str], layout: list[int | str]) -> str:
    return "".join(item if isinstance(item, str) else leaves[item] for item in layout)


def check(
    operation: Operation,
    layouts: list[list[int | str] | Any],
    here: list[str],
    there: list[str],
) -> None:
    """An operation on traced text gives what it gives on plain text, here and wherever the guards hold."""
    trace = Trace()

    def arguments(make: Callable[[list[int | str]], str]) -> list[Any]:
        return [make(layout) if isinstance(layout, list) else layout for layout in layouts]

    result = outcome(operation, *arguments(lambda layout: traced(trace, here, layout)))
    assert as_text(result, None) == outcome(operation, *arguments(lambda layout: plain(here, layout)))
    other = data_of(there)
    if all(holds(guard, other) for guard in trace.guards):
        expected = outcome(operation, *arguments(lambda layout: plain(there, layout)))
        assert as_text(result, other) == expected


LEAVES = st.lists(TEXTS, min_size=3, max_size=3)
LAYOUTS = st.lists(st.one_of(st.integers(0, 2), TEXTS), min_size=1, max_size=4)


@st.composite
def pairs_of_leaves(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    here = draw(LEAVES)
    # Much alike, so that many guards hold.
    there = [draw(st.one_of(st.just(text), TEXTS, TEXTS.map(lambda more, text=text: text + more))) for text in here]
    return here, there


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs_of_leaves(), LAYOUTS)
def test_on_its_own(name: str, leaves: tuple[list[str], list[str]], layout: list[int | str]) -> None:
    check(UNARY[name], [layout], *leaves)


@pytest.mark.parametrize("name", WITH_TEXT)
@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs_of_leaves(), LAYOUTS, st.one_of(ARGUMENTS, LAYOUTS))
def test_with_another_text(name: str, leaves: tuple[list[str], list[str]], layout: list[int | str], other: Any) -> None:
    check(WITH_TEXT[name], [layout, other], *leaves)


@pytest.mark.parametrize("name", WITH_NUMBERS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs_of_leaves(), LAYOUTS, NUMBERS, BOUNDS)
def test_with_numbers(
    name: str, leaves: tuple[list[str], list[str]], layout: list[int | str], low: int, high: int | None
) -> None:
    check(WITH_NUMBERS[name], [layout, low, high], *leaves)


@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(pairs_of_leaves(), LAYOUTS, st.one_of(ARGUMENTS, LAYOUTS), st.one_of(ARGUMENTS, LAYOUTS), st.integers(-1, 3))
def test_replace(leaves: tuple[list[str], list[str]], layout: list[int | str], old: Any, new: Any, count: int) -> None:
    check(lambda text, *args: text.replace(*args), [layout, old, new, count], *leaves)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["strip", "lower", "upper", "title"]).map(lambda name: UNARY[name]),
        st.tuples(st.sampled_from(["removeprefix", "+", "last of split", "first of split", "rstrip"]), ARGUMENTS).map(
            lambda step: lambda text: WITH_TEXT[step[0]](text, step[1])
        ),
        st.tuples(NUMBERS, BOUNDS).map(lambda bounds: lambda text: text[bounds[0] : bounds[1]]),
        ARGUMENTS.map(lambda new: lambda text: text.replace("a", new)),
    ),
    max_size=4,
)


@settings(max_examples=20 * EXAMPLES, deadline=None)
@given(pairs_of_leaves(), LAYOUTS, STEPS)
def test_operations_in_a_row(
    leaves: tuple[list[str], list[str]], layout: list[int | str], steps: list[Operation]
) -> None:
    def run(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    check(run, [layout], *leaves)
