"""One turn and what stands around it: where the turn lies is decided once for every such surrounding.

What decides about a turn (:mod:`ifttool.template.judging`) lies near it: the message before it, the turn, what follows,
and the ends of its generation prompt and of its own render. A window holds just these segments. Its answer comes with
guards, as a whole conversation's does, and is used wherever the same segments stand around a turn again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ifttool.template.chat_template import TracedRender
from ifttool.template.judging import judge
from ifttool.template.layout import Layout, TurnLayout, lay_out
from ifttool.template.symbols import Piece
from ifttool.template.trajectory.beginnings import Beginning, Beginnings
from ifttool.template.trajectory.numbering import Numbering
from ifttool.template.trajectory.program import Program, Row, UnfollowedError
from ifttool.template.trajectory.scan import State
from ifttool.template.trajectory.segment import PARAMETERS, Segment, SegmentCompiler
from ifttool.template.trajectory.walk import piece_texts
from ifttool.template.turns import GENERATED_ROLES, has_text

# Qwen3 has 21 on 9,000 tool dialogues. What is beyond the bound is judged again each time.
MAX_WINDOWS = 2_000

_Step = tuple[Segment, State, int]
"""A segment, the namespaces before it, and its item (-1: none)."""


@dataclass(frozen=True, eq=False)
class Window:
    """A located turn with what stands around it.

    Attributes:
        layout: Pieces of the surroundings in the whole conversation, with the one turn located among them.
        check: Whether the answer holds for a turn; takes what segments take, with the turn as item.
        texts: The texts of the layout's pieces; takes the same.
        guards: What ``check`` looks at, with messages numbered from the turn.
        holds: Whether the answer holds wherever its guards do.
        opens: Whether the window begins where the text begins; if not, its first piece stands for what precedes.
        closes: Whether it ends where the text ends.
    """

    layout: Layout
    check: Any
    texts: Any
    guards: tuple[Any, ...]
    holds: bool
    opens: bool
    closes: bool

    @property
    def turn(self) -> TurnLayout:
        """The turn."""
        return self.layout.turns[0]


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A window in a conversation.

    Attributes:
        window: The window.
        message: Its turn's message.
        first: The number of its first segment in the whole text.
        around: What stands around the turn, as a number for :meth:`Windows.find`; None if that isn't remembered.
    """

    window: Window
    message: int
    first: int
    around: int | None


class Windows:
    """Locates turns of conversations that are put together from segments.

    Args:
        program: The template's segments.

    Attributes:
        judged: How many windows were judged.
        fresh: Turns of the current conversation whose surroundings were new.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._numbers: dict[Any, int] = {}
        self._known: dict[Any, list[Window]] = {}
        self.judged = 0
        self.fresh: list[int] = []

    def place(self, row: Row, beginnings: Beginnings, turn: int) -> Placed:
        """Locate a turn.

        Raises:
            Unknown: A segment is still to be learnt.
            UnfollowedError: The turn can't be located from what stands around it.
        """
        around = _Around(row, beginnings, turn)
        number = self._numbers.get(around.key)
        window = None if number is None else self.find(row, turn, around.lead, number)
        if window is not None:
            return Placed(window, turn, around.first, number)
        window = around.judged()
        if not window.holds or self.judged >= MAX_WINDOWS:
            return Placed(window, turn, around.first, None)
        number = self._numbers.setdefault(around.key, len(self._numbers))
        self._known.setdefault((number, around.lead, has_text(row.messages[turn])), []).append(window)
        self.judged += 1
        self.fresh.append(turn)
        return Placed(window, turn, around.first, number)

    def find(self, row: Row, turn: int, lead: Sequence[int] | None, around: int) -> Window | None:
        """The window of a turn of which it is known what stands around it; None if it hasn't been judged.

        Args:
            row: The conversation.
            turn: The turn's message.
            lead: What precedes the messages, if the window begins there: numbers of what segments print.
            around: All else that stands around the turn.
        """
        for window in self._known.get((around, lead, has_text(row.messages[turn])), ()):
            if window.check(row.messages, row.tools, row.kwargs, row.kinds, {}, turn, len(row.messages), False):
                return window
        return None


class _Around:
    """The segments around one turn, in the whole conversation, its own render and its generation prompt.

    Attributes:
        key: What the answer depends on beside guards, ``lead`` and whether the turn has text.
        lead: What precedes the messages, if the window begins there: numbers of what segments print.
        first: Number of the window's first segment among those that the text is put together from.
    """

    __slots__ = (
        "_beginnings", "_closes", "_generated", "_high", "_low", "_opens", "_own", "_position", "_prompt", "_row",
        "_turn", "first", "key", "lead",
    )  # fmt: skip

    def __init__(self, row: Row, beginnings: Beginnings, turn: int) -> None:
        start, outs, owned = beginnings.indices.start, beginnings.outs, beginnings.owned
        position = turn - start
        if position < 0:
            raise UnfollowedError("a turn isn't printed by the loop over messages")
        if turn in beginnings.apart:
            raise UnfollowedError("a turn is printed outside of the loop over messages")
        low = position - 1
        while low > 0 and not owned[low]:
            low -= 1
        low = max(low, 0)
        high, size = position + 1, len(outs)
        least = position + beginnings.reach
        while high < size and (high < least or not owned[high]):
            high += 1
        closes = high >= size
        high = min(high, size - 1)
        message = row.messages[turn]
        generated = message["role"] in GENERATED_ROLES
        is_last = turn == len(row.messages) - 1
        own = None if is_last else beginnings.beginning(turn + 1, False)
        prompt = beginnings.beginning(turn, True) if generated and turn else None
        self._row, self._beginnings, self._turn, self._generated = row, beginnings, turn, generated
        self._position, self._low, self._high, self._opens, self._closes = position, low, high, low == 0, closes
        self._own, self._prompt = own, prompt
        self.first = 0 if low == 0 else beginnings.tops + low
        self.lead = beginnings.lead if low == 0 else None
        self.key = (
            tuple(outs[low : high + 1]),
            position - low,
            low == 0,
            beginnings.trail if closes else None,
            is_last,
            None if own is None else self._face(own, position),
            None if prompt is None else self._face(prompt, position - 1),
            self._same_start(),
        )

    def _face(self, beginning: Beginning, size: int) -> Any:
        group = beginning.group
        diverged = group.diverged is not None and group.diverged < self._low + self._beginnings.indices.start
        last = beginning.last[0].out if beginning.last else None
        return (diverged, *[segment.out for segment in group.segments[self._low : size]], last, beginning.tail[0].out)

    def _diverged(self, beginning: Beginning) -> bool:
        """Whether it differs from the whole conversation before the window."""
        item = beginning.group.diverged
        return item is not None and item < self._low + self._beginnings.indices.start

    def _same_start(self) -> bool:
        """Whether the own render and the generation prompt agree before the window."""
        if self._own is None or self._prompt is None or self._own.group is self._prompt.group:
            return True
        return self._own.group.faces[: self._low] == self._prompt.group.faces[: self._low]

    def judged(self) -> Window:
        """Locate the turn.

        Raises:
            UnfollowedError: A message is referred to from afar.
        """
        row, turn = self._row, self._turn
        messages = Numbering(row, self._low + self._beginnings.indices.start, turn)
        lead = () if self._opens else ("",)
        full = self._render(messages, self._whole(), lead)
        own = full if turn == len(row.messages) - 1 else self._part(messages, self._own, self._position + 1, lead)
        prompt = self._part(messages, self._prompt, self._position, lead)
        if prompt is not None and own is not None and not self._same_start() and not lead:
            raise UnfollowedError("what precedes the messages isn't always the same")
        found = judge(
            full,
            own,
            prompt,
            messages.of(turn),
            has_text=has_text(row.messages[turn]),
            generated=self._generated,
        )
        analysis, empty = lay_out(full.pieces, [found.span], messages.roles(), lost=False)
        runs = analysis.layout.turns[0].runs
        if runs and runs[-1][1] == len(analysis.layout.nodes) and not self._closes:
            raise UnfollowedError("a turn ends where its surroundings end")
        guards = [messages.guard(guard) for guard in (*(found.guards or ()), *empty)]
        nodes = [messages.node(node) for node in analysis.layout.nodes]
        check, texts = SegmentCompiler(), SegmentCompiler()
        return Window(
            analysis.layout,
            check.function(PARAMETERS, guards, lambda: "True"),
            texts.function(PARAMETERS, (), texts.texts(nodes)),
            tuple(guards),
            found.guards is not None,
            self._opens,
            self._closes,
        )

    def _before(self) -> list[_Step]:
        """What precedes the messages, if the window begins there."""
        if not self._opens:
            return []
        return [(stage.segments[0], stage.states[0], -1) for stage in self._beginnings.before if not stage.loop]

    def _whole(self) -> Iterator[tuple[_Step, bool]]:
        main = self._beginnings.main
        for step in self._before():
            yield step, False
        for position in range(self._low, self._high + 1):
            yield (main.segments[position], main.states[position], self._beginnings.indices[position]), False
        if self._closes:
            for stage in self._beginnings.after:
                yield (stage.segments[0], stage.states[0], -1), False

    def _part(
        self, messages: Numbering, beginning: Beginning | None, size: int, lead: Sequence[str]
    ) -> TracedRender | None:
        if beginning is None:
            return None
        group = beginning.group
        steps: list[_Step] = [*self._before()]
        for position in range(self._low, size - 1):
            steps.append((group.segments[position], group.states[position], self._beginnings.indices[position]))
        if beginning.last is not None:
            steps.append((*beginning.last, self._beginnings.indices[size - 1]))
        steps.append((*beginning.tail, -1))
        mark = lead
        if lead and self._diverged(beginning):
            mark = ("own",) if beginning is self._own and not self._same_start() else ("other",)
        return self._render(messages, ((step, beginning.asks) for step in steps), mark, count=beginning.size)

    def _render(
        self,
        messages: Numbering,
        steps: Iterator[tuple[_Step, bool]],
        lead: Sequence[str],
        *,
        count: int | None = None,
    ) -> TracedRender:
        """Segments as one traced render, messages numbered within the window."""
        row = self._row
        pieces = [Piece(f"\0{mark}\0", f"\0{mark}\0") for mark in lead]
        blocks = 0
        for (segment, state, item), asks in steps:
            texts = piece_texts(row, segment, state, item, count or len(row.messages), asks=asks)
            for node, text, block in zip(segment.nodes, texts, segment.blocks, strict=True):
                pieces.append(Piece(messages.local(node, item), text, block if block < 0 else blocks + block))
            blocks += max(segment.blocks, default=-1) + 1
        return TracedRender("".join(piece.text for piece in pieces), tuple(pieces), ())
