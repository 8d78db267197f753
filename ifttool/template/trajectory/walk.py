"""A conversation put together from segments, from the first to the last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ifttool.template.trajectory.program import Loop, Program, Row, UnfollowedError
from ifttool.template.trajectory.scan import Scan, State
from ifttool.template.trajectory.segment import Segment


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
        scan: What stands for its items in a loop that prints nothing.
    """

    context: int
    loop: Loop | None = None
    segments: list[Segment] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    counts: bool = False
    scan: Scan | None = None

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
        UnfollowedError: The template refuses the messages.
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
        if program.scans(loop.context):
            stage.scan = Scan(program, row, loop)
            state = stage.scan.after(state, count, asks=asks)
        else:
            state = walk_loop(program, row, stage, state, count, asks=asks)
        context = loop.after


def walk_loop(program: Program, row: Row, stage: Stage, state: State, count: int, *, asks: bool) -> State:
    """Put the iterations of a loop together; gives the namespaces after it.

    Raises:
        Unknown: A segment is still to be learnt.
        UnfollowedError: The template refuses a message.
    """
    assert stage.loop is not None
    for item in stage.loop.indices(count):
        segment, text = program.find(row, stage.context, state, item, count, asks)
        stage.add(segment, text, state)
        state = segment.leave(state, item, count)
        if segment.exit == "break":
            break
        if segment.exit != "next":
            raise UnfollowedError("the template refuses the conversation")
    return state


def numbered(stages: Sequence[Stage]) -> Iterator[tuple[Segment, str]]:
    """All segments of a render with their texts, in order."""
    for stage in stages:
        yield from zip(stage.segments, stage.texts, strict=True)


def speaking(stages: Sequence[Stage]) -> list[Stage]:
    """The stages that a window counts: segments outside of loops, and the loop that prints the messages."""
    return [stage for stage in stages if stage.loop is None or any(not segment.is_silent for segment in stage.segments)]


def piece_texts(
    row: Row, segment: Segment, state: Mapping[str, object], item: int, count: int, *, asks: bool
) -> list[str]:
    """The texts of a segment's pieces."""
    texts: list[str] = segment.texts(row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks)
    return texts
