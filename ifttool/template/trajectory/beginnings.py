"""The beginnings of a conversation, without running the template's loop over them anew.

The verdict of a turn needs two more renders: the generation prompt before it, and the conversation up to it. Both are
beginnings of the conversation, so nearly all of their segments are those of the whole. Segments know what could make
them others (the number of messages, namespaces), and only that is looked at again. Beginnings after which namespaces
hold the same share everything but their last segment, so the work stays linear in the turns.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec

from ifttool.template.trajectory.affine import Affine
from ifttool.template.trajectory.program import Consulted, Loop, Program, Row, UnfollowedError
from ifttool.template.trajectory.scan import Scan, State
from ifttool.template.trajectory.segment import Segment
from ifttool.template.trajectory.walk import Stage, walk_loop

# How many segments of groups are kept. A turn is compared with beginnings that lie near it, and there may be as many
# groups as turns, each as long as the conversation.
_MOST_KEPT = 1 << 20


class _Always:
    """The namespaces before each item of a loop that sets none."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def __getitem__(self, position: int) -> State:
        return self._state


@dataclass(slots=True)
class Group:
    """Beginnings that enter the main loop with the same in their namespaces.

    Attributes:
        state: Namespaces at the entry.
        segments: A segment for each item, as long as it isn't the last one.
        faces: Numbers of what each prints; that of the whole conversation where the text is the same.
        states: Namespaces before each item, and after the last of them.
        checked: For how many of the items this is known.
        cursor: Number of the next of the items that may differ.
        diverged: The first item that prints something else than in the whole conversation.
        refused: The first item at which the template refuses to go on.
    """

    state: State
    segments: list[Segment]
    faces: list[int]
    states: list[State] | _Always
    checked: int
    cursor: int = 0
    diverged: int | None = None
    refused: int | None = None


class Beginning(msgspec.Struct, frozen=True, gc=False):
    """The render of the first messages.

    Attributes:
        group: Everything before the last item.
        size: How many messages.
        last: The segment of the last item and its state; None without items.
        tail: The segment behind the loop, and its state.
        asks: Whether the generation prompt is asked for.
    """

    group: Group
    size: int
    last: tuple[Segment, State] | None
    tail: tuple[Segment, State]
    asks: bool


class Beginnings:
    """The beginnings of one conversation.

    Args:
        program: The template's segments.
        row: The conversation.
        stages: The render of all of it.

    Attributes:
        main: The loop that prints the messages; ``indices`` are its items.
        before: What comes before it, and ``after`` what comes behind it.
        outs: Number of what each of its segments prints; ``lead`` and ``trail`` those before and behind it.
        owned: Whether each of them prints something of the data.
        reach: How many messages back one of them prints something of.
        tops: How many segments stand before it, outside of loops.
        apart: Messages of which something is printed outside of it.

    Raises:
        UnfollowedError: It isn't one loop that prints messages, in order and to the last.
    """

    def __init__(self, program: Program, row: Row, stages: Sequence[Stage]) -> None:
        self._program, self._row = program, row
        speaking = [
            number
            for number, stage in enumerate(stages)
            if stage.loop and any(not segment.is_silent for segment in stage.segments)
        ]
        if len(speaking) != 1:
            raise UnfollowedError("not one loop prints the messages")
        self.main = stages[speaking[0]]
        loop = self.main.loop
        assert loop is not None
        count = len(row.messages)
        self.indices = loop.indices(count)
        if len(self.indices) != len(self.main.segments):
            raise UnfollowedError("the template leaves the loop that prints the messages")
        if loop.step != 1 or not self.indices or self.indices.stop != count or loop.start.terms:
            raise UnfollowedError("the messages aren't printed in order and to the last")
        self.before, self.after = stages[: speaking[0]], stages[speaking[0] + 1 :]
        if any(stage.loop for stage in self.after):
            raise UnfollowedError("a loop over messages follows the one that prints them")
        self._loop = loop
        segments = self.main.segments
        # The last item's segment is in no beginning: there another item is the last, or none is.
        self._moves = any(segment.is_open or segment.asks for segment in segments[:-1])
        self._reads = program.reads(loop.context)
        # Whatever else a segment depends on is the same in every beginning in which its item isn't the last.
        self._touchy = [
            (position, segment)
            for position, segment in enumerate(segments[:-1])
            if segment.reads or segment.is_open or segment.asks
        ]
        distances = {segment.distance for _, segment in self._touchy}
        keys = {None if distance is None else distance[0] for distance in distances}
        self._distance = None
        if len(keys) == 1 and None not in keys:
            self._distance = max(distance for distance in distances if distance is not None)
        self._writes = any(segment.writes for segment in segments)
        self._asks_before = any(segment.asks for stage in self.before for segment in stage.segments)
        self.outs = [segment.out for segment in segments]
        self.owned = [segment.owned for segment in segments]
        self.reach = max(segment.reach for segment in segments)
        self.tops = sum(not stage.loop for stage in self.before)
        self.lead = tuple(stage.segments[0].out for stage in self.before if not stage.loop)
        self.trail = tuple(stage.segments[0].out for stage in self.after)
        self.apart = frozenset(
            index.value(item=-1, count=count, state=stage.states[0]) if isinstance(index, Affine) else index
            for stage in (*self.before, *self.after)
            for segment in stage.segments
            for index in segment.printed
        )
        self._groups: dict[Any, Group] = {}
        self._entries: dict[Any, State] = {}
        self._tails: dict[bool, Segment] = {}
        self._loud: list[int] = []
        self._by_loud: dict[int, tuple[State, Group]] = {}
        self._prepare_short_way()

    def beginning(self, count: int, asks: bool) -> Beginning | None:
        """The render of the first ``count`` messages; None if the template refuses them.

        Raises:
            Unknown: A segment is still to be learnt.
            UnfollowedError: What comes before the messages isn't what it is in the whole conversation.
        """
        entry, group = self._entered(count, asks)
        size = count - self.indices.start
        if group.checked < size - 1:
            self._extend(group, size - 1, count, asks)
        if group.refused is not None and group.refused < count - 1:
            return None
        program, row, last = self._program, self._row, None
        state = group.states[max(size - 1, 0)]
        if size > 0:
            known = self.main.segments[size - 1]
            segment = program.match(row, self._loop.context, state, count - 1, count, asks, known)
            if segment.exit == "raise":
                return None
            if segment.exit != "next":
                raise UnfollowedError("the template leaves a loop early")
            last = (segment, state)
            state = segment.leave(state, count - 1, count)
        if entry is not group.state:
            # What isn't read in the loop may still be read behind it.
            state = {**entry, **{name: value for name, value in state.items() if group.state.get(name) is not value}}
        tail = self._tails.get(asks)
        if tail is None:
            tail = program.match(row, self._loop.after, state, -1, count, asks)
            if tail.is_deaf:
                self._tails[asks] = tail
        if tail.exit == "raise":
            return None
        if tail.exit != "end":
            raise UnfollowedError("a loop over messages follows the one that prints them")
        return Beginning(group, count, last, (tail, state), asks)

    # -- before the main loop ------------------------------------------------------------------------------------

    def _prepare_short_way(self) -> None:
        """Where one loop sets namespaces before the main one, what it leaves decides, and comes again and again."""
        row, scans = self._row, [stage for stage in self.before if stage.loop]
        self._short: tuple[Scan, State, frozenset[str]] | None = None
        tops = [stage.segments[0] for stage in self.before if not stage.loop]
        if len(scans) != 1 or scans[0].scan is None or any(top.moves for top in tops):
            return
        after = self.before[self.before.index(scans[0]) + 1 :]
        if any(stage.segments[0].writes for stage in after):
            return
        base: State = {}
        counted: set[str] = set()
        for stage in self.before[: self.before.index(scans[0])]:
            segment = stage.segments[0]
            base = segment.leave(base, -1, len(row.messages))
            counted |= segment.counted
        if not counted & set(self._program.reads(scans[0].context)):
            self._short = (scans[0].scan, base, frozenset(counted))
            self._loud = scans[0].scan.loud(base)

    def _entered(self, count: int, asks: bool) -> tuple[State, Group]:
        """Namespaces where the main loop begins, and the group of beginnings that a render is in."""
        if self._short is None or self._moves:
            entry = self._entry(count, asks)
            return entry, self._group(entry, count, asks)
        # Where the loop before comes to the same last item that leaves something, it leaves the same.
        loud = self._loud
        at = bisect_left(loud, count)
        found = self._by_loud.get(at)
        if found is None:
            entry = self._entry(count, asks)
            found = entry, self._group(entry, count, asks)
            scan, base, counted = self._short
            # What stays from before the loop may be a number that depends on how many messages there are.
            if at and not scan.is_stepwise and counted <= scan.written(base, count, asks=asks).keys():
                self._by_loud[at] = found
                # All of its beginnings at once: none of their items before this one is the last.
                most = loud[at] if at < len(loud) else len(self._row.messages)
                if found[1].checked < most - self.indices.start - 1:
                    self._extend(found[1], most - self.indices.start - 1, most, asks)
        return found

    def _entry(self, count: int, asks: bool) -> State:
        """Namespaces where the main loop begins; the same object where they are known to be the same."""
        if self._short is not None:
            scan, base, counted = self._short
            written = scan.written(base, count, asks=asks)
            if not counted or counted <= written.keys():
                entry = self._entries.get(id(written))
                if entry is None:
                    entry = self._entries[id(written)] = {**base, **written}
                return entry
        key = (count, asks and self._asks_before)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = self._entry_by_steps(count, asks)
        return entry

    def _entry_by_steps(self, count: int, asks: bool) -> State:
        row = self._row
        state: State = {}
        for stage in self.before:
            if stage.loop is not None:
                state = self._scan(stage, stage.loop, state, count, asks)
                continue
            segment = known = stage.segments[0]
            if known.moves and not self._is_still(known, state, -1, count, asks):
                segment = self._program.match(row, stage.context, state, -1, count, asks)
                if segment.out != known.out or segment.exit != known.exit:
                    raise UnfollowedError("what precedes the messages depends on how many there are")
            state = segment.leave(state, -1, count)
        return state

    def _scan(self, stage: Stage, loop: Loop, state: State, count: int, asks: bool) -> State:
        """Namespaces after a loop that prints nothing."""
        if stage.scan is None:
            if not self._program.scans(loop.context):
                return walk_loop(self._program, self._row, Stage(loop.context, loop), state, count, asks=asks)
            stage.scan = Scan(self._program, self._row, loop)
        return stage.scan.after(state, count, asks=asks)

    # -- the main loop -------------------------------------------------------------------------------------------

    def _key(self, entry: State, count: int, asks: bool) -> Any:
        """What decides which group a beginning is in."""
        return (*[entry.get(name) for name in self._reads], (count, asks) if self._moves else None)

    def _group(self, entry: State, count: int, asks: bool) -> Group:
        group = None if self._moves else self._groups.get(id(entry))
        if group is not None:
            return group
        key = self._key(entry, count, asks)
        group = self._groups.get(key)
        if group is None:
            main = self.main
            if not self._moves and key == self._key(main.states[0], count, asks):
                # What the loop doesn't read may differ, and what stands in its states is the whole conversation's.
                state = entry if entry == main.states[0] else main.states[0]
                group = Group(state, main.segments, self.outs, main.states, len(main.segments) - 1)
            elif self._writes:
                group = Group(entry, [], [], [entry], 0)
            else:
                group = Group(entry, main.segments, self.outs, _Always(entry), 0)
            if len(self._groups) * len(main.segments) > _MOST_KEPT:
                self._groups.clear()
                self._by_loud.clear()
            self._groups[key] = group
        self._groups[id(entry)] = group  # entries live as long as the groups
        return group

    def _extend(self, group: Group, size: int, count: int, asks: bool) -> None:
        """Find the segments of the first ``size`` items of a group, none of which is the last."""
        start = self.indices.start
        if self._writes:
            self._extend_with_states(group, size, count, asks)
            return
        state, touchy = group.state, self._touchy
        if not group.cursor:
            group.cursor = self._first_that_differs(state)
        cursor = group.cursor
        for cursor in range(group.cursor, len(touchy)):
            position, known = touchy[cursor]
            if position >= size:
                break
            if not self._is_still(known, state, start + position, count, asks):
                self._replace(group, position, count, asks)
        else:
            cursor = len(touchy)
        group.cursor, group.checked = cursor, size

    def _first_that_differs(self, state: State) -> int:
        """Number of the first touchy item that need be looked at, by how far it is from what it is compared with."""
        if self._distance is None:
            return 0
        key, near = self._distance
        here, there = state.get(key), self.main.states[0].get(key)
        if type(here) is not int or type(there) is not int:
            return 0
        return bisect_left(self._touchy, min(here, there) - near - self.indices.start, key=itemgetter(0))

    def _extend_with_states(self, group: Group, size: int, count: int, asks: bool) -> None:
        assert isinstance(group.states, list)
        touchy = dict(self._touchy)
        for position in range(group.checked, size):
            known, item, state = self.main.segments[position], self.indices[position], group.states[position]
            group.segments.append(known)
            group.faces.append(self.outs[position])
            if position in touchy and not self._is_still(known, state, item, count, asks):
                self._replace(group, position, count, asks)
            group.states.append(group.segments[position].leave(state, item, count))
        group.checked = size

    def _is_still(self, known: Segment, state: State, item: int, count: int, asks: bool) -> bool:
        """Whether a segment is also the one in another render of the same messages."""
        row = self._row
        if not known.still(row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks):
            return False
        if self._program.consulted is not None:
            self._program.consulted.append(Consulted(known, state, item, count))
        return True

    def _replace(self, group: Group, position: int, count: int, asks: bool) -> None:
        """Put the right segment where an item's isn't what it is in the whole conversation."""
        row, known = self._row, self.main.segments[position]
        item, state = self.indices[position], group.states[position]
        segment = self._program.match(row, self._loop.context, state, item, count, asks, known)
        if segment.writes and not self._writes:
            raise UnfollowedError("an iteration sets what it doesn't set in the whole conversation")
        if (segment.is_open or segment.asks) and not self._moves:
            raise UnfollowedError("an iteration depends on how many messages there are")
        if group.segments is self.main.segments:
            group.segments, group.faces = self.main.segments[:-1], self.outs[:-1]
        group.segments[position] = segment
        if segment.out != known.out:
            self._program.compared = True
            if self.main.texts[position] != segment.run(
                row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks
            ):
                group.faces[position] = segment.out
                if group.diverged is None:
                    group.diverged = item
        if segment.exit != "next" and group.refused is None:
            group.refused = item
