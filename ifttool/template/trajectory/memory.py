"""How conversations of one shape were put together: for the next one, only what looks at the data is asked again.

Dialogues with tools come in a few thousand sequences of kinds of messages. Where a sequence comes back, the segments,
the namespaces between them and what beginnings consist of are those of the last time, if every segment that was found
then asks the data what it asked and gets the same answers. What segments ask of positions, kinds and namespaces needs
no asking: these are the same. At most one segment ever fits, so one that fits again is the one that would be found.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ifttool.template.trajectory.beginnings import Beginnings
from ifttool.template.trajectory.program import Consulted, Program, Row, Unknown
from ifttool.template.trajectory.segment import Segment
from ifttool.template.trajectory.walk import Stage
from ifttool.template.trajectory.window import Placed, Window, Windows

# Ways through the template that are remembered of one shape, and arrangements of each: with other tools, first turns
# have other windows.
MOST_WAYS = 2
MOST_ARRANGEMENTS = 8
# How much oftener conversations of a shape may go other ways than those before nothing is remembered of it any more.
PATIENCE = 8
# A piece of a plan takes about half a kilobyte.
_STEPS_A_PIECE = 4


class Arrangement(msgspec.Struct, frozen=True, eq=False):
    """What conversations have in common that are put together in the same way.

    Attributes:
        segments: What they are put together from, in order.
        turns: The located turns.
        roles: The role of each message.
        derived: What others have worked out from it, by what did.
    """

    segments: Sequence[Segment]
    turns: Sequence[Placed]
    roles: Sequence[str]
    derived: dict[object, Any] = msgspec.field(default_factory=dict)


class Assembled(msgspec.Struct, frozen=True, gc=False):
    """A rendered conversation with its turns located.

    Attributes:
        arrangement: What it is put together from.
        text: The rendered text.
        texts: What each segment prints.
    """

    arrangement: Arrangement
    text: str
    texts: Sequence[str]


def arranged(row: Row, parts: Sequence[Segment], turns: Sequence[Placed]) -> Arrangement:
    """The arrangement of one conversation."""
    return Arrangement(parts, turns, [str(message["role"]) for message in row.messages])


class _Check(NamedTuple):
    """What a segment asks of the data, and where it asks."""

    ask: Any
    state: Mapping[str, Any]
    item: int
    size: int


class Seen(NamedTuple):
    """How a conversation was put together.

    Attributes:
        stages: The render of all of it.
        beginnings: Its beginnings; None if no turn was asked for.
        turns: The located turns.
        consulted: The segments that were found for the render and for beginnings, and where.
        compared: Whether more of the data was looked at than segments ask for.
    """

    stages: Sequence[Stage]
    beginnings: Beginnings | None
    turns: Sequence[Placed]
    consulted: Sequence[Consulted] = ()
    compared: bool = False


class Memory:
    """What is remembered of conversations of one shape: kinds of messages, turns, and whether there are tools.

    Attributes:
        is_curious: Whether one that can't be repeated is to be remembered. The first one isn't: most never come back.
    """

    __slots__ = ("_is_sighted", "_patience", "_ways", "is_curious")

    def __init__(self) -> None:
        self._ways: list[_Way] = []
        self._patience = PATIENCE
        self._is_sighted = False
        self.is_curious = False

    @property
    def pieces(self) -> int:
        """How much is remembered, in pieces of plans."""
        return sum([way.pieces for way in self._ways])

    def repeated(self, program: Program, windows: Windows, row: Row) -> Assembled | None:
        """Put a conversation together like one that is remembered; None if none is like it."""
        for way in self._ways:
            found = way.repeated(program, windows, row)
            if found is not None:
                self._patience += 1
                return found
        if self._ways:
            self._patience -= 1
        if self._patience <= 0:  # the data decides too often: looking is in vain
            self._ways = []
        self.is_curious = self._is_sighted and self._patience > 0 and len(self._ways) < MOST_WAYS
        self._is_sighted = True
        return None

    def remember(self, row: Row, seen: Seen) -> None:
        """Remember how a conversation was put together, if that can be told from what segments and windows ask."""
        if seen.compared or seen.beginnings is None or any(placed.around is None for placed in seen.turns):
            self._patience -= 1
            return
        self._ways.append(_Way(row, seen, seen.beginnings))


class _Way:
    """One way through the template."""

    def __init__(self, row: Row, seen: Seen, beginnings: Beginnings) -> None:
        tops = [(stage.context, stage.segments[0], stage.states[0]) for stage in seen.stages if not stage.loop]
        main = beginnings.main
        self._tops, self._before = tops, beginnings.tops
        self._steps = tuple(zip(main.segments, main.states, beginnings.indices, strict=True))
        walked = {(id(segment), id(state), -1) for _, segment, state in tops}
        walked |= {(id(segment), id(state), item) for segment, state, item in self._steps}
        others = [one for one in seen.consulted if one.size < len(row.messages) or _place(one) not in walked]
        self._checks = tuple(self._asked(others))
        self._turns = [
            (placed.message, placed.first, placed.window.opens, placed.around)
            for placed in seen.turns
            if placed.around is not None
        ]
        self._arranged: dict[Any, Arrangement] = {}

    @property
    def pieces(self) -> int:
        """How much it takes, in pieces of plans; what is derived from an arrangement is as long as the way."""
        steps = len(self._steps) + len(self._checks) + len(self._turns)
        return steps * (1 + len(self._arranged)) // _STEPS_A_PIECE

    def _asked(self, consulted: Sequence[Consulted]) -> Iterator[_Check]:
        """What segments of beginnings ask of the data, without what those of the whole conversation ask as well."""
        asked = set()
        whole = {item: segment for segment, _, item in self._steps}
        for segment, state, item, size in consulted:
            if segment.ask is None or (item in whole and whole[item].covers(segment)):
                continue
            key = (segment, item, *(() if segment.local_asks is not None else (id(state), size)))
            if key not in asked:
                asked.add(key)
                yield _Check(segment.ask, state, item, size)

    def repeated(self, program: Program, windows: Windows, row: Row) -> Assembled | None:
        """Put another conversation of the shape together in this way; None if it goes another one."""
        messages, tools, kwargs, kinds = row.messages, row.tools, row.kwargs, row.kinds
        count = len(messages)
        segments: list[Segment] = []
        texts: list[str] = []
        for context, known, state in self._tops:
            try:
                segment, text = program.find(row, context, state, -1, count, False)
            except Unknown:
                return None
            # A list of other tools is another segment; if it leaves the same, only the windows that show it differ.
            if segment is not known and not (len(segments) < self._before and segment.is_alike(known)):
                return None
            segments.append(segment)
            texts.append(text)
        said = []
        for segment, entry, item in self._steps:
            text = segment.run(messages, tools, kwargs, kinds, entry, item, count, False)
            if text is None:
                return None
            said.append(text)
        for ask, before, item, size in self._checks:
            if ask(messages, tools, kwargs, kinds, before, item, size, False) is None:
                return None
        lead = tuple([segment.out for segment in segments[: self._before]])
        found = []
        for turn, _, opens, around in self._turns:
            window = windows.find(row, turn, lead if opens else None, around)
            if window is None:
                return None
            found.append(window)
        texts[self._before : self._before] = said
        text = "".join(texts)
        return Assembled(self._arrangement(row, segments, found), text, texts) if text.strip() else None

    def _arrangement(self, row: Row, tops: Sequence[Segment], found: Sequence[Window]) -> Arrangement:
        """The arrangement of these windows and segments outside of loops; nearly always one that was there before."""
        key = (*tops, *found)
        arrangement = self._arranged.get(key)
        if arrangement is None:
            parts = [*tops[: self._before], *(segment for segment, _, _ in self._steps), *tops[self._before :]]
            pairs = zip(found, self._turns, strict=True)
            turns = [Placed(window, turn, first, around) for window, (turn, first, _, around) in pairs]
            arrangement = arranged(row, parts, turns)
            if len(self._arranged) < MOST_ARRANGEMENTS:
                self._arranged[key] = arrangement
        return arrangement


def _place(consulted: Consulted) -> tuple[int, int, int]:
    return (id(consulted.segment), id(consulted.state), consulted.item)
