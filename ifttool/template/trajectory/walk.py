"""Renders put together from segments: the whole conversation once, and its beginnings without running them anew.

The verdict of a turn needs two more renders: the generation prompt before it, and the conversation up to it. Both are
beginnings of the conversation, so nearly all of their segments are those of the whole. Segments know what could make
them others (the number of messages, namespaces), and only that is looked at again. Beginnings after which namespaces
hold the same share everything but their last segment, so the work stays linear in the turns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ifttool.template.trajectory.program import Loop, Program, Row, UnfollowedError
from ifttool.template.trajectory.segment import Segment

State = dict[str, Any]


@dataclass(slots=True)
class Stage:
    """A part of a render: one segment outside of loops, or a loop with a segment for each item.

    Attributes:
        context: Where it starts.
        loop: The loop; None outside of loops.
        segments: Its segments.
        texts: What they print.
        states: Namespaces before each of them.
        counts: Whether one of them depends on the number of messages, or on the generation prompt being asked for.
    """

    context: int
    loop: Loop | None = None
    segments: list[Segment] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    counts: bool = False

    def add(self, segment: Segment, text: str, state: State) -> None:
        """Note one more segment."""
        self.segments.append(segment)
        self.texts.append(text)
        self.states.append(state)
        self.counts |= segment.counts or segment.asks


def walk(program: Program, row: Row, count: int, *, asks: bool) -> list[Stage]:
    """Put the render of the first ``count`` messages together.

    Raises:
        Unknown: A segment is still to be learnt.
        UnfollowedError: The template refuses the messages, or leaves a loop early.
    """
    stages = []
    state: State = {}
    context = program.root(row)
    while True:
        stage = Stage(context)
        segment, text = program.find(row, context, state, -1, count, asks)
        stage.add(segment, text, state)
        stages.append(stage)
        state = segment.leave(state, -1, count)
        if not isinstance(segment.exit, Loop):
            if segment.exit == "raise":
                raise UnfollowedError("the template refuses the conversation")
            return stages
        loop = segment.exit
        stage = Stage(loop.context, loop)
        stages.append(stage)
        state = walk_loop(program, row, stage, state, count, asks=asks)
        context = loop.after


def walk_loop(program: Program, row: Row, stage: Stage, state: State, count: int, *, asks: bool) -> State:
    """Put the iterations of a loop together; gives the namespaces after it."""
    assert stage.loop is not None
    for item in stage.loop.indices(count):
        segment, text = program.find(row, stage.context, state, item, count, asks)
        if segment.exit != "next":
            raise UnfollowedError("the template leaves a loop early")
        stage.add(segment, text, state)
        state = segment.leave(state, item, count)
    return state


@dataclass(slots=True)
class Group:
    """Beginnings that enter the main loop with the same in their namespaces.

    Attributes:
        state: Namespaces at the entry.
        segments: A segment for each item, as long as it isn't the last one.
        faces: Numbers of what each prints; that of the whole conversation where the text is the same.
        states: Namespaces before each item, and after the last of them.
        checked: For how many of the items this is known.
        diverged: The first item that prints something else than in the whole conversation.
        refused: The first item at which the template refuses to go on.
    """

    state: State
    segments: list[Segment]
    faces: list[int]
    states: list[State]
    checked: int
    diverged: int | None = None
    refused: int | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """The render of the first messages.

    Attributes:
        group: Everything before the last item.
        count: How many messages.
        last: The segment of the last item and its state; None without items.
        tail: The segment behind the loop, and its state.
        asks: Whether the generation prompt is asked for.
    """

    group: Group
    count: int
    last: tuple[Segment, State] | None
    tail: tuple[Segment, State]
    asks: bool


class Beginnings:
    """The beginnings of one conversation.

    Args:
        program: The template's segments.
        row: The conversation.
        stages: The render of all of it.

    Raises:
        UnfollowedError: It isn't one loop that prints messages, in order and to the last.
    """

    def __init__(self, program: Program, row: Row, stages: Sequence[Stage]) -> None:
        self._program, self._row, self.stages = program, row, stages
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
        if loop.step != 1 or not self.indices or self.indices.stop != count or loop.start.terms:
            raise UnfollowedError("the messages aren't printed in order and to the last")
        self.before, self.after = stages[: speaking[0]], stages[speaking[0] + 1 :]
        if any(stage.loop for stage in self.after):
            raise UnfollowedError("a loop over messages follows the one that prints them")
        self._loop = loop
        segments = self.main.segments
        self._moves = any(segment.is_open or segment.asks for segment in segments)
        self._reads = program.reads(loop.context)
        # Whatever else a segment depends on is the same in every beginning in which its item isn't the last.
        self._touchy = [
            (position, segment)
            for position, segment in enumerate(segments[:-1])
            if segment.reads or segment.is_open or segment.asks
        ]
        self._writes = any(segment.writes for segment in segments)
        self._asks_before = any(segment.asks for stage in self.before for segment in stage.segments)
        self._faces = [segment.out for segment in segments[:-1]]
        self._groups: dict[Any, Group] = {}
        self._entries: dict[Any, State] = {}
        self._scans: dict[Any, State] = {}

    def beginning(self, count: int, *, asks: bool) -> Beginning | None:
        """The render of the first ``count`` messages; None if the template refuses them.

        Raises:
            Unknown: A segment is still to be learnt.
            UnfollowedError: What comes before the messages isn't what it is in the whole conversation.
        """
        key = (count, asks and self._asks_before)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = self._entry(count, asks)
        group = self._group(entry, count, asks)
        size = count - self.indices.start
        if group.checked < size - 1:
            self._extend(group, size - 1, count, asks)
        if group.refused is not None and group.refused < count - 1:
            return None
        program, row, last = self._program, self._row, None
        state = group.states[max(size - 1, 0)]
        if size > 0:
            segment = program.match(row, self._loop.context, state, count - 1, count, asks)
            if segment.exit == "raise":
                return None
            if segment.exit != "next":
                raise UnfollowedError("the template leaves a loop early")
            last = (segment, state)
            state = segment.leave(state, count - 1, count)
        if entry is not group.state:
            # What isn't read in the loop may still be read behind it.
            state = {**entry, **{name: value for name, value in state.items() if group.state.get(name) is not value}}
        segment = program.match(row, self._loop.after, state, -1, count, asks)
        if segment.exit == "raise":
            return None
        if segment.exit != "end":
            raise UnfollowedError("a loop over messages follows the one that prints them")
        return Beginning(group, count, last, (segment, state), asks)

    # -- before the main loop ------------------------------------------------------------------------------------

    def _entry(self, count: int, asks: bool) -> State:
        """Namespaces where the main loop begins."""
        row = self._row
        state: State = {}
        for stage in self.before:
            if stage.loop is not None:
                state = self._scan(stage, stage.loop, state, count, asks)
                continue
            segment = known = stage.segments[0]
            if known.moves and not known.still(
                row.messages, row.tools, row.kwargs, row.kinds, state, -1, count, asks
            ):
                segment = self._program.match(row, stage.context, state, -1, count, asks)
                if segment.out != known.out or segment.exit != known.exit:
                    raise UnfollowedError("what precedes the messages depends on how many there are")
            state = segment.leave(state, -1, count)
        return state

    def _scan(self, stage: Stage, loop: Loop, state: State, count: int, asks: bool) -> State:
        """Namespaces after a loop that prints nothing.

        From a given item on, such a loop does the same in every beginning that reaches it with the same in what it
        reads; so that is remembered, and no item is looked at twice.
        """
        if stage.counts:
            return walk_loop(self._program, self._row, Stage(loop.context, loop), state, count, asks=asks)
        if loop.step == 1:
            return self._scan_forwards(stage, loop, state, count)
        reads = self._program.reads(loop.context)
        row, known, top, scans = self._row, stage.segments, len(self._row.messages) - 1, self._scans
        path: list[tuple[Any, State]] = []
        written: State = {}
        now = state
        for item in loop.indices(count):
            key = (loop.context, item, *[now.get(name) for name in reads])
            if key in scans:
                written = scans[key]
                break
            segment = known[top - item]
            if segment.moves and not segment.still(
                row.messages, row.tools, row.kwargs, row.kinds, now, item, count, asks
            ):
                segment = self._program.match(row, loop.context, now, item, count, asks)
                if segment.counts or segment.exit != "next":
                    raise UnfollowedError("a loop that prints nothing depends on how many messages there are")
            if segment.writes:
                now = segment.leave(now, item, count)
                path.append((key, {name: now[name] for name in segment.writes}))
            else:
                path.append((key, {}))
        for key, own in reversed(path):
            written = {**own, **written} if own else written
            scans[key] = written
        return {**state, **written} if written else state

    def _scan_forwards(self, stage: Stage, loop: Loop, state: State, count: int) -> State:
        whole, indices = loop.indices(len(self._row.messages)), loop.indices(count)
        if not stage.states or indices.start != whole.start:
            return state
        first = stage.states[0]
        if any(state.get(name) != first.get(name) for name in self._program.reads(loop.context)):
            raise UnfollowedError("a loop that prints nothing depends on how many messages there are")
        if len(indices) < len(stage.states):
            reached = stage.states[len(indices)]
        else:
            reached = stage.segments[-1].leave(stage.states[-1], whole[-1], len(self._row.messages))
        if reached is first:
            return state
        writes = {name for segment in stage.segments[: len(indices)] for name in segment.writes}
        return {**state, **{name: reached[name] for name in writes}}

    # -- the main loop -------------------------------------------------------------------------------------------

    def _key(self, entry: State, count: int, asks: bool) -> Any:
        """What decides which group a beginning is in."""
        return (*[entry.get(name) for name in self._reads], (count, asks) if self._moves else None)

    def _group(self, entry: State, count: int, asks: bool) -> Group:
        key = self._key(entry, count, asks)
        group = self._groups.get(key)
        if group is None:
            main = self.main
            if not self._moves and key == self._key(main.states[0], count, asks):
                group = Group(entry, main.segments[:-1], self._faces, main.states, len(main.segments) - 1)
            elif self._writes:
                group = Group(entry, [], [], [entry], 0)
            else:
                group = Group(entry, main.segments[:-1], self._faces[:], [entry] * len(main.segments), 0)
            self._groups[key] = group
        return group

    def _extend(self, group: Group, size: int, count: int, asks: bool) -> None:
        """Find the segments of the first ``size`` items of a group, none of which is the last."""
        row, start = self._row, self.indices.start
        if self._writes:
            self._extend_with_states(group, size, count, asks)
            return
        checked, state = group.checked, group.state
        messages, tools, kwargs, kinds = row.messages, row.tools, row.kwargs, row.kinds
        for position, known in self._touchy:
            if position >= size:
                break
            if position >= checked and not known.still(
                messages, tools, kwargs, kinds, state, start + position, count, asks
            ):
                self._replace(group, position, count, asks)
        group.checked = size

    def _extend_with_states(self, group: Group, size: int, count: int, asks: bool) -> None:
        row, touchy = self._row, dict(self._touchy)
        for position in range(group.checked, size):
            known, item, state = self.main.segments[position], self.indices[position], group.states[position]
            group.segments.append(known)
            group.faces.append(self._faces[position])
            if position in touchy and not known.still(
                row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks
            ):
                self._replace(group, position, count, asks)
            group.states.append(group.segments[position].leave(state, item, count))
        group.checked = size

    def _replace(self, group: Group, position: int, count: int, asks: bool) -> None:
        """Put the right segment where an item's isn't what it is in the whole conversation."""
        row, known = self._row, self.main.segments[position]
        item, state = self.indices[position], group.states[position]
        segment, text = self._program.find(row, self._loop.context, state, item, count, asks)
        if segment.writes and not self._writes:
            raise UnfollowedError("an iteration sets what it doesn't set in the whole conversation")
        group.segments[position] = segment
        if segment.out != known.out and text != self.main.texts[position]:
            group.faces[position] = segment.out
            if group.diverged is None:
                group.diverged = item
        if segment.exit != "next" and group.refused is None:
            group.refused = item


def numbered(stages: Sequence[Stage]) -> Iterator[tuple[Segment, str]]:
    """All segments of a render with their texts, in order."""
    for stage in stages:
        yield from zip(stage.segments, stage.texts, strict=True)


def piece_texts(row: Row, segment: Segment, state: Mapping[str, Any], item: int, count: int, *, asks: bool) -> list[str]:
    """The texts of a segment's pieces."""
    texts: list[str] = segment.texts(row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks)
    return texts
