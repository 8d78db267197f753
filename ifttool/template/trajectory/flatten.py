"""A plan for one shape of conversation, made of the segments and surroundings that one of them was put together from.

Where a sequence of messages comes again and again, looking up each segment and each turn's surroundings costs ten times
what a plan does. Everything these look-ups depend on is known: what the segments ask of the data, for the positions
they were asked at. Tracing the whole conversation would give the same plan for two more renders a turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ifttool.template.compiler import is_nodes
from ifttool.template.judging import says_something
from ifttool.template.layout import Analysis, Layout, lay_out
from ifttool.template.symbols import Guard, Json, Node, Piece, Structure, is_fixed, merged_pieces
from ifttool.template.trajectory.affine import Affine
from ifttool.template.trajectory.nodes import resolved
from ifttool.template.trajectory.program import Consulted, Row
from ifttool.template.trajectory.segment import Segment
from ifttool.template.trajectory.walk import Stage, piece_texts
from ifttool.template.turns import TurnSpan, message_of


def flat_pieces(row: Row, stages: Sequence[Stage]) -> list[Piece]:
    """Everything that the segments of a whole conversation print, with messages by their numbers."""
    pieces: list[Piece] = []
    count = len(row.messages)
    blocks = 0
    for stage in stages:
        items = stage.loop.indices(count) if stage.loop is not None else (-1,)
        for segment, state, item in zip(stage.segments, stage.states, items, strict=False):
            texts = piece_texts(row, segment, state, item, count, asks=False)
            for node, text, block in zip(segment.nodes, texts, segment.blocks, strict=True):
                flat = _at(node, state, item, count)
                pieces.append(Piece(flat, text, block if block < 0 else blocks + block))
            blocks += max(segment.blocks, default=-1) + 1
    return list(merged_pieces(pieces))


def flat_layout(
    pieces: Sequence[Piece], turns: Sequence[tuple[Any, ...]], roles: Sequence[str]
) -> tuple[Analysis, tuple[Guard, ...]]:
    """Pieces with turns located by characters; see :func:`ifttool.template.layout.lay_out`.

    Args:
        pieces: What the whole conversation prints.
        turns: For each turn its message, intervals, verdict and ending.
        roles: The role of each message.
    """
    spans = [TurnSpan(message, tuple(runs), verdict, ending or (0, 0)) for message, runs, verdict, ending in turns]
    return lay_out(pieces, spans, roles, lost=False)


def flat_guards(
    row: Row, consulted: Sequence[Consulted], windows: Sequence[tuple[Sequence[Any], int]]
) -> Iterator[Guard | Structure]:
    """What has to hold of a conversation of the same kinds of messages for the same segments and answers to come.

    What segments ask of positions, kinds and namespaces needs no guard: kinds are part of the shape, and the same
    segments leave the same in namespaces.

    Args:
        row: The conversation.
        consulted: The segments that were asked for, and where.
        windows: For each turn the guards of its surroundings, and its message.
    """
    for segment, state, item, size in consulted:
        for guard in _data_guards(segment):
            yield _guard_at(guard, state, item, size)
    for guards, turn in windows:
        for guard in guards:
            yield _guard_at(guard, {}, turn, len(row.messages))
        yield from says_something(row.messages[turn], turn)


def _data_guards(segment: Segment) -> Iterator[Guard | Structure]:
    return (guard for guard in segment.guards if isinstance(guard, Guard | Structure))


def _guard_at(guard: Guard | Structure, state: Mapping[str, Any], item: int, count: int) -> Guard | Structure:
    def at(node: Node) -> Node:
        return _at(node, state, item, count)

    if isinstance(guard, Structure):
        return Structure(at(Json(guard.path, ())).path, guard.signature)  # type: ignore[union-attr]
    args = tuple(tuple(map(at, arg)) if is_nodes(arg) else arg for arg in guard.args)
    return Guard(guard.test, tuple(map(at, guard.parts)), args, guard.answer)


def _at(node: Node, state: Mapping[str, Any], item: int, count: int) -> Node:
    def number(form: Affine) -> int:
        return form.value(item=item, count=count, state=state)

    return resolved(node, number)


def is_swallowed(pieces: Sequence[Piece], layout: Layout) -> bool:
    """Whether a turn starts right behind a string of its own, all of which its generation prompt has.

    Where a prompt ends in ``<think>``, a reply of just that ends there, too. Of a longer one the rest belongs to the
    turn, which a layout cut by the characters of the first doesn't tell.
    """
    whole = {piece.node for piece in pieces if piece.text and not is_fixed(piece.node)}
    starts = [(turn.message, turn.runs[0][0]) for turn in layout.turns if turn.runs and turn.runs[0][0]]
    return any(
        message_of(layout.nodes[start - 1]) == message and layout.nodes[start - 1] in whole for message, start in starts
    )
