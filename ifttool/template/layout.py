"""The static side of a rendered conversation: what each piece is, which turn it belongs to, what may bear loss.

A layout holds for every conversation that takes the same way through the template; only the texts of its pieces
differ. All boundaries of interest lie between pieces.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec

from ifttool.template.chat_template import REASONING_FIELDS
from ifttool.template.symbols import Cut, Guard, Node, Piece, is_fixed, owner
from ifttool.template.turns import GENERATED_ROLES, HEADER_FIELDS, TurnSpan, Verdict, message_of

Run = tuple[int, int]
"""A half-open run of pieces."""


class Label(NamedTuple):
    """What one piece is.

    Attributes:
        kind: ``scaffold``, ``header``, ``content``, ``reasoning``, ``tool_call``, ``tool_result``, ``end_of_turn``,
            ``tools`` or ``kwargs``.
        message: Index of the message its text comes from; -1 for text of the template, tools and kwargs.
        turn: Message index of the located turn it is part of; -1 outside of completions.
    """

    kind: str
    message: int
    turn: int


@dataclass(frozen=True, slots=True)
class TurnLayout:
    """One located turn, in runs of pieces; see :class:`ifttool.template.turns.TurnSpan`."""

    message: int
    runs: tuple[Run, ...]
    verdict: Verdict
    end_of_turn: Run

    @property
    def ends(self) -> bool:
        """Whether the completion ends in an end-of-turn token."""
        return self.end_of_turn[0] < self.end_of_turn[1]


@dataclass(frozen=True, eq=False)
class Layout:
    """Pieces of a render without their texts, and the turns among them.

    Attributes:
        nodes: How each piece is made.
        blocks: Generation block of each piece, -1 for none.
        roles: Role of each message.
        turns: The located turns, in order.
        lost: Whether the render couldn't be traced, so that pieces say nothing.
        empty: Pieces of the data that are empty in every row of this layout.
        derived: What others have worked out from it, by what did; it goes with the layout, and a look-up costs a sixth
            of one in a weak dictionary.
    """

    nodes: tuple[Node, ...]
    blocks: tuple[int, ...]
    roles: tuple[str, ...]
    turns: tuple[TurnLayout, ...]
    lost: bool = False
    empty: frozenset[int] = frozenset()
    derived: dict[object, Any] = field(default_factory=dict, repr=False)

    @property
    def prints_always(self) -> bool:
        """Whether there is text in every render: some of it is the template's own."""
        return any(isinstance(node, str) and node.strip() for node in self.nodes)

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """What each piece is."""
        turn_of = dict.fromkeys(range(len(self.nodes)), -1)
        closing: set[int] = set()
        for turn in self.turns:
            for start, stop in turn.runs:
                turn_of.update(dict.fromkeys(range(start, stop), turn.message))
            closing.update(range(*turn.end_of_turn))
        labels = []
        for index, node in enumerate(self.nodes):
            message = message_of(node)
            kind = "end_of_turn" if index in closing else self._kind(node)
            labels.append(Label(kind, -1 if message is None else message, turn_of[index]))
        return tuple(labels)

    @cached_property
    def verdicts(self) -> tuple[tuple[Verdict, bool], ...]:
        """For each located turn, its verdict and whether it ends in an end-of-turn token."""
        return tuple((turn.verdict, turn.ends) for turn in self.turns)

    @cached_property
    def generated(self) -> tuple[tuple[int | None, Run], ...]:
        """What the template's ``{% generation %}`` blocks printed: the message (if known) and its run of pieces.

        Of several messages, it is the first that a model writes. A block that prints nothing of a message, as that of
        an empty reply may, is of the located turn it lies in.
        """
        found: dict[int, tuple[int | None, Run]] = {}
        for index, (node, block) in enumerate(zip(self.nodes, self.blocks, strict=True)):
            if block >= 0:
                message, (start, _) = found.get(block, (None, (index, index)))
                found[block] = (self._rather(message, message_of(node)), (start, index + 1))
        return tuple(
            (self._turn_at(run) if message is None else message, run)
            for message, run in (found[block] for block in sorted(found))
        )

    def is_by_model(self, message: int) -> bool:
        """Whether a model writes such messages."""
        return self.roles[message] in GENERATED_ROLES

    def _rather(self, message: int | None, other: int | None) -> int | None:
        """Which of two messages a block is of: the first, unless only the other one is written by a model."""
        if message is None or other is None:
            return other if message is None else message
        return other if self.is_by_model(other) and not self.is_by_model(message) else message

    def _turn_at(self, run: Run) -> int | None:
        """Message of the first located turn that has pieces of a run."""
        own = (self.labels[index].turn for index in range(*run))
        return next((turn for turn in own if turn >= 0), None)

    def _kind(self, node: Node) -> str:
        path = owner(node)
        if path is None:
            return "scaffold"
        if path[0] != "messages":
            return str(path[0])
        field = path[2]
        if field in HEADER_FIELDS:
            return "header"
        if field in REASONING_FIELDS:
            return "reasoning"
        if field == "tool_calls":
            return "tool_call"
        return "tool_result" if self.roles[int(path[1])] == "tool" else "content"


class Analysis(msgspec.Struct, frozen=True, gc=False):
    """A rendered conversation with its turns located.

    Attributes:
        layout: What the pieces are.
        texts: What each piece says here.
    """

    layout: Layout
    texts: Sequence[str]

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def positions(self) -> list[int]:
        """First character of each piece, and the length of the text."""
        return list(accumulate(map(len, self.texts), initial=0))


def joined_intervals(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted intervals with neighbours made one: an empty string of another message may stand between two."""
    out: list[tuple[int, int]] = []
    for low, high in intervals:
        if out and out[-1][1] == low:
            out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return out


def located(analysis: Analysis) -> tuple[Any, ...]:
    """What an analysis says, in characters: the text, and for each turn its intervals, verdict and ending."""
    at = analysis.positions()
    turns = [
        (
            turn.message,
            joined_intervals((at[low], at[high]) for low, high in turn.runs if at[low] < at[high]),
            turn.verdict,
            (at[turn.end_of_turn[0]], at[turn.end_of_turn[1]]) if turn.ends else None,
        )
        for turn in analysis.layout.turns
    ]
    blocks = [(message, at[low], at[high]) for message, (low, high) in analysis.layout.generated]
    return (analysis.text, turns, blocks)


def lay_out(
    pieces: Sequence[Piece], spans: Sequence[TurnSpan], roles: Sequence[str], *, lost: bool
) -> tuple[Analysis, tuple[Guard, ...]]:
    """Cut pieces at every boundary of a turn and put the turns in terms of pieces.

    Returns:
        The analysis, and what its layout depends on: which side of a boundary an empty string stands on can't be
        told from positions, so a string that is empty there must stay empty.
    """
    cuts = {bound for span in spans for interval in (*span.intervals, span.end_of_turn) for bound in interval}
    in_order = sorted(cuts)
    parts: list[Piece] = []
    starts: dict[int, int] = {}
    empty: list[Guard] = []
    nothing: set[int] = set()
    first: dict[tuple[int, int | None], int] = {}
    position = 0
    for piece in pieces:
        if position in cuts and not piece.text and not is_fixed(piece.node):
            empty.append(Guard("truth", (piece.node,), (), False))
            nothing.add(len(parts))
            first.setdefault((position, message_of(piece.node)), len(parts))
        end = position + len(piece.text)
        within = in_order[bisect_right(in_order, position) : bisect_left(in_order, end)]
        inside = [cut - position for cut in within]
        for low, high in zip([0, *inside], [*inside, len(piece.text)], strict=True):
            starts[position + low] = len(parts)
            parts.append(_part(piece, low, high))
        position = end
    starts[position] = len(parts)
    turns = tuple(
        TurnLayout(
            span.message,
            # A turn that begins with nothing, be it empty reasoning, begins where it would begin with something.
            tuple((first.get((low, span.message), starts[low]), starts[high]) for low, high in span.intervals),
            span.verdict,
            (starts[span.end_of_turn[0]], starts[span.end_of_turn[1]])
            if span.end_of_turn[0] < span.end_of_turn[1]
            else (0, 0),
        )
        for span in spans
    )
    layout = Layout(
        nodes=tuple(part.node for part in parts),
        blocks=tuple(part.block for part in parts),
        roles=tuple(roles),
        turns=turns,
        lost=lost,
        empty=frozenset(nothing),
    )
    return Analysis(layout, [part.text for part in parts]), tuple(empty)


def _part(piece: Piece, low: int, high: int) -> Piece:
    if low == 0 and high == len(piece.text):
        return piece
    text = piece.text[low:high]
    if isinstance(piece.node, str):
        return Piece(text, text, piece.block)
    stop = None if high == len(piece.text) else high
    return Piece(Cut(("slice", low, stop), (piece.node,), 0), text, piece.block)
