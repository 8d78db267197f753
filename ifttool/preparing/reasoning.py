"""Inline reasoning: ``<think>…</think>`` written into the content of a turn by whoever made the data."""

import re
from collections.abc import Iterable

from ifttool.records import Interval

# What models of today wrap their reasoning in. Looked for only inside a completion that is trained anyway.
_CLOSING = re.compile(r"</(?:think|thinking|thought|reasoning|seed:think)>|\[/THINK\]")


def reasoning_interval(text: str, start: int, stop: int) -> Interval | None:
    """Where the reasoning of a completion lies: from its start through the closing tag and the white space after it.

    A completion that closes a block the generation prompt opened has no opening tag of its own. The last space before
    the answer isn't part of it: in most tokenizers it starts the answer's first token.

    Args:
        text: The rendered conversation.
        start: First character of the completion.
        stop: One past its last character.
    """
    last = None
    for last in _CLOSING.finditer(text, start, stop):  # noqa: B007 - the last match is wanted
        pass
    if last is None:
        return None
    end = last.end()
    while end < stop and text[end].isspace():
        end += 1
    if end < stop and text[end - 1] == " ":
        end -= 1
    return (start, end)


def subtract(intervals: Iterable[Interval], holes: Iterable[Interval]) -> list[Interval]:
    """``intervals`` less ``holes``; both sorted and disjoint, and so is the result."""
    left = list(intervals)
    for low, high in holes:
        cut: list[Interval] = []
        for start, stop in left:
            cut.extend(part for part in ((start, min(stop, low)), (max(start, high), stop)) if part[0] < part[1])
        left = cut
    return left
