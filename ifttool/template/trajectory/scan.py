"""Loops that only look: they print nothing and leave what they found in namespaces."""

from bisect import bisect_left, bisect_right
from typing import Any

from ifttool.template.trajectory.program import Loop, Program, Row, UnfollowedError

State = dict[str, Any]
"""What namespace keys hold."""

_NOTHING: State = {}


class Scan:
    """A loop that prints nothing, over any number of the first messages.

    Most items leave nothing behind, whatever they say; only the others are looked at. What the rest of a loop leaves
    depends on the item it has come to and on what it reads of namespaces, and is remembered.

    Args:
        program: The template's segments.
        row: The conversation.
        loop: The loop.

    Attributes:
        is_stepwise: Whether it has turned out to read what it leaves: then every item counts, not only the loud ones.
    """

    def __init__(self, program: Program, row: Row, loop: Loop) -> None:
        self._program, self._row, self._loop = program, row, loop
        self._reads = program.reads(loop.context)
        self._louds: dict[Any, list[int]] = {}
        self._written: dict[Any, State] = {}
        self._left: dict[Any, list[State]] = {}
        # The namespaces before the loop are nearly always the same object; then its last item tells all.
        self._entry: State | None = None
        self._entry_loud: list[int] = []
        self._by_item: dict[int, State] = {}
        self.is_stepwise = False

    def _values(self, state: State) -> Any:
        return tuple([state.get(name) for name in self._reads])

    def _loud(self, values: Any, state: State) -> list[int]:
        """Items that may leave something, in the loop's order."""
        found = self._louds.get(values)
        if found is None:
            found = self._program.loud(self._row, self._loop.context, state)
            self._louds[values] = found
        return found

    def loud(self, state: State) -> list[int]:
        """Items that may leave something where the loop starts in a state; the last of them decides what it leaves.

        Empty for a loop over a part of the messages: there the first item matters, too.
        """
        return self._loud(self._values(state), state) if self._loop.is_whole else []

    def after(self, state: State, count: int, *, asks: bool) -> State:
        """Namespaces after the loop over the first ``count`` messages."""
        written = self.written(state, count, asks=asks)
        return {**state, **written} if written else state

    def written(self, state: State, count: int, *, asks: bool) -> State:
        """What the loop over the first ``count`` messages leaves; the same object for the same last item."""
        if state is self._entry and self._loop.is_whole:
            at = bisect_right(self._entry_loud, count - 1)
            if not at:
                return _NOTHING
            found = self._by_item.get(self._entry_loud[at - 1])
            if found is not None:
                return found
        indices = self._loop.indices(count)
        if not indices:
            return _NOTHING
        low, high = min(indices[0], indices[-1]), max(indices[0], indices[-1])
        move = self._forwards if self._loop.step == 1 else self._down
        found = move(state, low, high, count, asks)
        self._entry, self._entry_loud = state, self._loud(self._values(state), state)
        at = bisect_right(self._entry_loud, high)
        if at and self._loop.is_whole and not self.is_stepwise:
            self._by_item[self._entry_loud[at - 1]] = found
        return found

    def _forwards(self, state: State, low: int, high: int, count: int, asks: bool) -> State:
        """What the items from ``low`` to ``high`` leave: each adds to what those before it left."""
        values = self._values(state)
        loud = self._loud(values, state)
        first, stop = bisect_left(loud, low), bisect_right(loud, high)
        left = self._left.setdefault((values, first), [])
        while first + len(left) < stop:
            before = left[-1] if left else _NOTHING
            now = {**state, **before}
            if self._values(now) != values:
                return self._one_by_one(state, low, high, count, asks)
            left.append({**before, **self._own(now, loud[first + len(left)], count, asks)})
        found = left[stop - first - 1] if stop > first else _NOTHING
        if found and self._values({**state, **found}) != values:
            return self._one_by_one(state, low, high, count, asks)  # what follows sees something else
        return found

    def _one_by_one(self, state: State, low: int, high: int, count: int, asks: bool) -> State:
        """The same for a loop that reads what it leaves, such as a counter: no item may be passed over."""
        self.is_stepwise = True
        left = self._left.setdefault((self._values(state), low, "all"), [])
        while low + len(left) <= high:
            before = left[-1] if left else _NOTHING
            left.append({**before, **self._own({**state, **before}, low + len(left), count, asks)})
        return left[high - low]

    def _down(self, state: State, low: int, high: int, count: int, asks: bool) -> State:
        """What the items from ``high`` down to ``low`` leave."""
        values = self._values(state)
        loud = self._loud(values, state)
        at = bisect_right(loud, high) - 1
        if at < 0 or loud[at] < low:
            return _NOTHING
        key = (loud[at], values)
        if key not in self._written:
            own = self._own(state, loud[at], count, asks)
            self._written[key] = {**own, **self._down({**state, **own}, low, loud[at] - 1, count, asks)}
        return self._written[key]

    def _own(self, state: State, item: int, count: int, asks: bool) -> State:
        segment = self._program.match(self._row, self._loop.context, state, item, count, asks)
        if segment.counts or segment.exit != "next":
            raise UnfollowedError("a loop that prints nothing depends on how many messages there are")
        after = segment.leave(state, item, count)
        return {name: after[name] for name in segment.writes}
