"""A template as the segments seen so far: finds the one that comes next, and learns those it lacks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from ifttool.errors import RowError
from ifttool.records import Message
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.environment import TemplateRaisedError
from ifttool.template.symbols import Node, Piece, owner
from ifttool.template.traced_markup import UntraceableError
from ifttool.template.trajectory.affine import COUNT, Affine, constant, variable
from ifttool.template.trajectory.nodes import message_indices
from ifttool.template.trajectory.recorder import Context, LoopExit, Recorded
from ifttool.template.trajectory.recording import FollowedTemplate, RecordingEnvironment
from ifttool.template.trajectory.segment import Segment

# Qwen3 has 27 on 9,000 tool dialogues. A template that goes on learning isn't made of segments that come back, and a
# compiled one takes some 30 kB.
MAX_SEGMENTS = 1_000
# Bounds what is guessed from: kinds of a message and its neighbours.
MOST_HINTS = 10_000


class UnfollowedError(Exception):
    """The render can't be put together from segments; the row goes the slower way."""


class Unknown(Exception):
    """No segment fits an item (-1: none): the render of the first ``count`` messages must be recorded."""

    def __init__(self, count: int, asks: bool, item: int) -> None:
        super().__init__(count, asks, item)
        self.count, self.asks, self.item = count, asks, item


class Row(msgspec.Struct, frozen=True, gc=False):
    """A conversation to be put together.

    Attributes:
        messages: Its messages.
        tools: Its tools.
        kwargs: Template kwargs.
        kinds: The number of each message's kind.
    """

    messages: Sequence[Message]
    tools: Any
    kwargs: Mapping[str, Any]
    kinds: Sequence[int]


class Consulted(NamedTuple):
    """A segment that was found to be the one, the namespaces before it, its item and how many messages there were."""

    segment: Segment
    state: Mapping[str, Any]
    item: int
    size: int


class Loop(NamedTuple):
    """A loop that a segment ends at.

    Attributes:
        context: Number of its context.
        start: The form of its first item's index, in the order of messages.
        stop: One past the last item's.
        step: 1, or -1 if it goes backwards.
        after: Number of the context behind it.
        is_whole: Whether it goes over all messages.
    """

    context: int
    start: Affine
    stop: Affine
    step: int
    after: int
    is_whole: bool

    def indices(self, count: int) -> range:
        """The items, in the loop's order."""
        if self.is_whole:
            return range(count) if self.step == 1 else range(count - 1, -1, -1)
        start, stop = (form.value(item=0, count=count, state={}) for form in (self.start, self.stop))
        return range(start, stop) if self.step == 1 else range(start, stop)[::-1]


@dataclass(slots=True)
class _Place:
    """What is known of one context.

    Attributes:
        segments: Its segments by kind of item; at most one of them fits.
        near: Those that came next the last time, where there are several; by the kinds of the item and its neighbours.
        last: Those that came next in a beginning, the last time, and what has to be asked of them; by what comes in the
            whole conversation, whether the generation prompt is asked for, and whether the beginning ends there.
        quiet: For a kind of item and what is read of namespaces, whether such items leave nothing behind.
        reads: Namespace keys that the segments read.
        scans: Whether items print nothing, leave the loop never, and don't depend on how many there are.
    """

    segments: dict[int | None, list[Segment]] = field(default_factory=dict)
    near: dict[tuple[int, ...], Segment] = field(default_factory=dict)
    last: dict[tuple[Segment | int | None, bool, bool], tuple[Segment, Any]] = field(default_factory=dict)
    quiet: dict[Any, bool] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    scans: bool = True


class Program:
    """The segments of one template.

    Args:
        template: The chat template.

    Attributes:
        generation: Grows with everything that is learnt.
        consulted: Where a list, every segment that is found is added to it.
        compared: Set when more of the data was looked at than segments ask for.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        environment = RecordingEnvironment(clock=template.clock)
        self._followed = FollowedTemplate(environment, template.traced_code)
        self._contexts: dict[Context, int] = {("root", False): 0, ("root", True): 1}
        self._places: list[_Place] = [_Place(), _Place()]
        self._outs: dict[Any, int] = {}
        self._known: dict[Any, Segment] = {}
        self.generation = 0
        self.consulted: list[Consulted] | None = None
        self.compared = False

    @property
    def has_loops(self) -> bool:
        """Whether the template has a loop that can be followed."""
        return self._followed.has_loops

    def reads(self, context: int) -> tuple[str, ...]:
        """Namespace keys that the segments of a context read."""
        return self._places[context].reads

    def scans(self, context: int) -> bool:
        """Whether a loop is known that prints nothing and looks at every message for itself."""
        place = self._places[context]
        return place.scans and bool(place.segments)

    def loud(self, row: Row, context: int, state: Mapping[str, Any]) -> list[int]:
        """Items of a loop that must be looked at: the others leave nothing behind, whatever they say."""
        place = self._places[context]
        values = tuple([state.get(name) for name in place.reads])
        quiet: dict[int, bool] = {}
        for kind in set(row.kinds):
            key = (kind, values)
            if key not in place.quiet:
                place.quiet[key] = any(
                    segment.is_blind and not segment.writes and segment.allows(state)
                    for segment in place.segments.get(kind, ())
                )
            quiet[kind] = place.quiet[key]
        return [item for item, kind in enumerate(row.kinds) if not quiet[kind]]

    def root(self, row: Row) -> int:
        """The context at the start of a template."""
        return 1 if row.tools is None else 0

    def find(  # noqa: PLR0917 - called for every message; names would cost as much as the look-up
        self, row: Row, context: int, state: Mapping[str, Any], item: int, count: int, asks: bool
    ) -> tuple[Segment, str]:
        """The segment that comes next, and what it prints.

        Raises:
            Unknown: There is none.
        """
        kind, place, hint = None if item < 0 else row.kinds[item], self._places[context], None
        found = place.segments.get(kind, ())
        if item > 0 and len(found) > 1:
            near = tuple(row.kinds[item - 1 : item + 2])
            hint = place.near.get(near)
            if hint is not None:
                text = hint.run(row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks)
                if text is not None:
                    if self.consulted is not None:
                        self.consulted.append(Consulted(hint, state, item, count))
                    return hint, text
        for position, segment in enumerate(found):
            if segment is hint:
                continue
            text = segment.run(row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks)
            if text is not None:
                if position:  # what fits is often what fits next time; at most one of them ever does
                    found.insert(0, found.pop(position))  # type: ignore[union-attr]
                if item > 0 and len(found) > 1:
                    if len(place.near) >= MOST_HINTS:
                        place.near.clear()
                    place.near[near] = segment
                if self.consulted is not None:
                    self.consulted.append(Consulted(segment, state, item, count))
                return segment, text
        raise Unknown(count, asks, item)

    def match(  # noqa: PLR0917 - as above
        self,
        row: Row,
        context: int,
        state: Mapping[str, Any],
        item: int,
        count: int,
        asks: bool,
        known: Segment | None = None,
    ) -> Segment:
        """The segment that comes next in a beginning of a conversation.

        What came next the last time is tried first. Where it is ``known`` which segment comes in the whole
        conversation, what doesn't move is asked only if that segment doesn't ask it as well.

        Raises:
            Unknown: There is none.
        """
        kind = None if item < 0 else row.kinds[item]
        place = self._places[context]
        key = (kind if known is None else known, asks, item == count - 1)
        hint = place.last.get(key)
        if hint is not None and hint[1](row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks):
            if self.consulted is not None:
                self.consulted.append(Consulted(hint[0], state, item, count))
            return hint[0]
        for segment in place.segments.get(kind, ()):
            if segment.check(row.messages, row.tools, row.kwargs, row.kinds, state, item, count, asks):
                settled = known is not None and known.settles(segment)
                place.last[key] = segment, segment.still if settled else segment.check
                if self.consulted is not None:
                    self.consulted.append(Consulted(segment, state, item, count))
                return segment
        raise Unknown(count, asks, item)

    def learn(self, row: Row, count: int, asks: bool) -> None:
        """Record the render of the first messages of a row.

        Raises:
            UnfollowedError: It does something that isn't followed, or there are too many segments.
        """
        template, messages = self._template, row.messages[:count]
        try:
            expected = template.render(messages, row.tools, add_generation_prompt=asks)
            refusal = None
        except RowError as error:
            if error.code != "IFT301":
                raise UnfollowedError("the template fails") from error
            expected, refusal = "", error.message
        try:
            recorded, raised = self._followed.record(
                messages, row.kinds[:count], row.tools, template.constants, row.kwargs, asks_prompt=asks
            )
        except UntraceableError as error:
            raise UnfollowedError(str(error)) from error
        if refusal is None:
            text = "".join(str.__str__(piece.text) for segment in recorded for piece in segment.pieces)
            if raised is not None or text != expected:
                raise UnfollowedError("the recording isn't the render") from raised
        elif not (isinstance(raised, TemplateRaisedError) and str(raised) == refusal):
            raise UnfollowedError("the recording doesn't refuse what the render refuses") from raised
        if any(_has_ownerless_block(segment.pieces) for segment in recorded):
            raise UnfollowedError("a generation block holds nothing of a message")
        added = [self._add(segment, row, count) for segment in recorded]
        if not any(added):
            raise UnfollowedError("a recorded segment doesn't fit the row it was recorded on")
        self.generation += 1
        if len(self._known) > MAX_SEGMENTS:
            raise UnfollowedError("too many different segments")

    def _add(self, recorded: Recorded, row: Row, count: int) -> bool:
        context = self._number(recorded.context)
        key = (context, recorded.kind, frozenset(recorded.guards))
        if key in self._known:
            return False
        nodes = tuple(piece.node for piece in recorded.pieces)
        blocks = tuple(piece.block for piece in recorded.pieces)
        roles = dict(_roles(nodes, row, recorded.item, count))
        out = self._outs.setdefault((nodes, blocks, recorded.kind, tuple(roles.values())), len(self._outs))
        exit_ = recorded.exit
        if isinstance(exit_, LoopExit):
            whole = exit_.view[:2] == (constant(0), variable(COUNT))
            exit_ = Loop(self._number(exit_.context), *exit_.view, self._number(exit_.after), whole)  # type: ignore[assignment]
        segment = Segment(recorded, len(self._known), out, exit_, roles)
        self._known[key] = segment
        place = self._places[context]
        place.segments.setdefault(recorded.kind, []).append(segment)
        place.quiet.clear()
        place.scans &= segment.is_silent and segment.exit == "next" and not (segment.counts or segment.asks)
        place.reads = tuple(sorted({*place.reads, *segment.reads}))
        return True

    def _number(self, context: Context) -> int:
        if context not in self._contexts:
            self._contexts[context] = len(self._places)
            self._places.append(_Place())
        return self._contexts[context]


def _has_ownerless_block(pieces: Sequence[Piece]) -> bool:
    """Whether a generation block holds nothing of a message: which turn it lies in takes the whole conversation."""
    blocks = {piece.block for piece in pieces if piece.block >= 0}
    owned = {piece.block for piece in pieces if (path := owner(piece.node)) is not None and path[0] == "messages"}
    return not blocks <= owned


def _roles(nodes: Sequence[Node], row: Row, item: int, count: int) -> Iterator[tuple[Any, str]]:
    """The role of each message that nodes are of; guards on kinds make it the same wherever the segment fits.

    Args:
        nodes: The nodes.
        row: The conversation they were recorded on.
        item: The item they were recorded for.
        count: How many of its messages were rendered.
    """
    for node in nodes:
        for index in message_indices(node):
            if isinstance(index, Affine) and any(index.names()):
                raise UnfollowedError("a message is looked up by a number from a namespace")
            at = index.value(item=item, count=count, state={}) if isinstance(index, Affine) else index
            yield index, str(row.messages[at]["role"])
