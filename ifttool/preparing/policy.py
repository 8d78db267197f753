"""Which pieces of a layout bear loss. A pure function of the layout and the recipe: it never sees a text.

The algebra: a turn is *selected* by its role, position or flag; it is left out again by its verdict if the recipe
says so; of what is left, pieces are taken out by their kind.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ifttool.recipe import Recipe
from ifttool.template.layout import Label, Layout, Run, TurnLayout
from ifttool.template.turns import Verdict

# What stands around tool calls.
_MARKUP = frozenset({"tool_call", "scaffold", "header"})

WORST_FIRST = (Verdict.DROPPED, Verdict.PROMPT, Verdict.HISTORY, Verdict.EXACT)


@dataclass(frozen=True, eq=False)
class Policy:
    """What bears loss in a layout.

    Attributes:
        layout: The layout that the runs below refer to.
        appended: A piece that the recipe adds to the render: its index and its text; None for none.
        trained: Runs of pieces, sorted, disjoint and not adjacent.
        turns: For each trained turn, the run of pieces from its start to its end.
        extents: The same with what generation blocks mark of the turn, which may reach further.
        reasoning: Runs in which inline reasoning must be looked for and taken out.
        verdict: The worst verdict among the located turns, or ``none``.
        blocks: Whether the template's generation blocks decide about turns of the model, rather than completions.
        unrolls: Whether the conversation is to be unrolled instead.
        mismatch: The worst verdict that the recipe refuses; None if there is none.
        derived: What others have worked out from it, by what did.
    """

    layout: Layout
    appended: tuple[int, str] | None
    trained: tuple[Run, ...]
    turns: tuple[Run, ...]
    extents: tuple[Run, ...]
    reasoning: tuple[Run, ...]
    verdict: str
    blocks: bool
    unrolls: bool
    mismatch: Verdict | None
    derived: dict[object, Any] = field(default_factory=dict, repr=False)


def policy_for(layout: Layout, recipe: Recipe, *, by_blocks: bool, eos: str | None = None) -> Policy:
    """Apply a recipe's training options to a layout.

    Args:
        layout: A rendered conversation with its trained turns located, or what stands around one of them.
        recipe: The options.
        by_blocks: Whether generation blocks decide about turns of the model. The template says so, not the layout: in
            one conversation there may be turns with blocks and others without.
        eos: Text of the tokenizer's EOS token, for ``append_eos``.
    """
    layout, appended = _closed(layout, eos) if recipe.append_eos and eos is not None else (layout, None)
    verdicts = {turn.verdict for turn in layout.turns}
    worst = next((verdict for verdict in WORST_FIRST if verdict in verdicts), None)
    refused = worst not in (None, Verdict.EXACT) and recipe.on_mismatch in ("drop", "error")
    wants_unroll = recipe.unroll == "auto" or recipe.on_mismatch == "unroll"
    turns = [turn for turn in layout.turns if turn.runs and _is_kept(turn, recipe)]
    extents = [_extent(layout, turn) if by_blocks else _whole(turn) for turn in turns]
    if recipe.selection.everything:
        trained: tuple[Run, ...] = ((0, len(layout.nodes)),) if recipe.bears_loss else ()
    else:
        selected = _marked(layout, turns, recipe) if by_blocks else merged(run for turn in turns for run in turn.runs)
        trained = _without(selected, _left_out(layout, turns, extents, recipe))
    return Policy(
        layout=layout,
        appended=appended,
        trained=trained,
        turns=tuple(map(_whole, turns)),
        extents=tuple(extents),
        reasoning=() if recipe.train_reasoning else tuple(map(_whole, turns)),
        verdict="none" if worst is None else worst.value,
        blocks=by_blocks,
        unrolls=wants_unroll and Verdict.HISTORY in verdicts,
        mismatch=worst if refused else None,
    )


def _is_kept(turn: TurnLayout, recipe: Recipe) -> bool:
    return turn.verdict == Verdict.EXACT or recipe.on_mismatch != "mask"


def _whole(turn: TurnLayout) -> Run:
    """A turn from its start to its end."""
    return (turn.runs[0][0], turn.runs[-1][1])


def _extent(layout: Layout, turn: TurnLayout) -> Run:
    """The same with the generation blocks of the turn."""
    runs = [_whole(turn), *(run for message, run in layout.generated if message == turn.message)]
    return (min(start for start, _ in runs), max(stop for _, stop in runs))


def _marked(layout: Layout, turns: Iterable[TurnLayout], recipe: Recipe) -> tuple[Run, ...]:
    """What generation blocks mark of the kept turns; the completions of turns that no model writes."""
    wanted: set[int | None] = {turn.message for turn in turns if layout.is_by_model(turn.message)}
    if _trains_all(layout, recipe):
        wanted.add(None)
    marked = [run for message, run in layout.generated if message in wanted]
    return merged([*marked, *(run for turn in turns if turn.message not in wanted for run in turn.runs)])


def _trains_all(layout: Layout, recipe: Recipe) -> bool:
    """Whether no turn of the model is left out. If one is, a block outside of located turns may be of it."""
    kept = {turn.message for turn in layout.turns if _is_kept(turn, recipe)}
    return all(index in kept for index in range(len(layout.roles)) if layout.is_by_model(index))


def _left_out(layout: Layout, turns: Iterable[TurnLayout], extents: Iterable[Run], recipe: Recipe) -> set[int]:
    """Pieces of trained turns that don't bear loss because of their kind."""
    out: set[int] = set()
    for turn, extent in zip(turns, extents, strict=True):
        own = {index: layout.labels[index] for index in range(*extent)}
        if not recipe.train_end_of_turn:
            out.update(_closing_pieces(own))
        if not recipe.train_tool_calls:
            out.update(_tool_call_pieces(own))
        if not recipe.train_reasoning:
            out.update(_reasoning_pieces({index: own[index] for index in range(*_whole(turn))}))
    return out


def _closing_pieces(own: dict[int, Label]) -> Iterable[int]:
    """The end-of-turn token, and what a generation block marks behind it: a line break, as a rule."""
    closing = [index for index, label in own.items() if label.kind == "end_of_turn"]
    if not closing:
        return ()
    behind = (index for index, label in own.items() if index > closing[-1] and label.kind == "scaffold")
    return (*closing, *behind)


def _tool_call_pieces(own: dict[int, Label]) -> Iterable[int]:
    """The tool calls with the markup around them: from behind the content before them to the end of the turn.

    Without content before them that is all of the turn, the header that a generation block may mark included.
    """
    calls = [index for index, label in own.items() if label.kind == "tool_call"]
    if not calls:
        return ()
    said = [index for index, label in own.items() if label.kind in ("content", "reasoning") and index < calls[0]]
    start = said[-1] + 1 if said else min(own)
    return [index for index, label in own.items() if index >= start and label.kind in _MARKUP]


def _reasoning_pieces(own: dict[int, Label]) -> Iterable[int]:
    """The reasoning with the markup that opens and closes it: from the start of the turn to its content."""
    thoughts = [index for index, label in own.items() if label.kind == "reasoning"]
    if not thoughts:
        return ()
    last = thoughts[-1]
    closing = last + 1 if own.get(last + 1, own[last]).kind == "scaffold" else last
    return [index for index, label in own.items() if index <= closing and label.kind in ("reasoning", "scaffold")]


def _without(runs: Iterable[Run], out: set[int]) -> tuple[Run, ...]:
    if not out:
        return tuple(runs)
    return merged((index, index + 1) for start, stop in runs for index in range(start, stop) if index not in out)


def _closed(layout: Layout, eos: str) -> tuple[Layout, tuple[int, str] | None]:
    """The layout with an EOS behind its last turn, if that turn ends the conversation and ends in nothing."""
    last = layout.turns[-1] if layout.turns else None
    if last is None or last.ends or not last.runs or last.message != len(layout.roles) - 1:
        return layout, None
    at = last.runs[-1][1]
    runs = (*last.runs[:-1], (last.runs[-1][0], at + 1))
    block = layout.blocks[at - 1]
    return (
        Layout(
            nodes=(*layout.nodes[:at], eos, *layout.nodes[at:]),
            blocks=(*layout.blocks[:at], block, *layout.blocks[at:]),
            roles=layout.roles,
            turns=(
                *(_moved(turn, at) for turn in layout.turns[:-1]),
                TurnLayout(last.message, runs, last.verdict, (at, at + 1)),
            ),
            lost=layout.lost,
            empty=frozenset(index + (index >= at) for index in layout.empty),
        ),
        (at, eos),
    )


def _moved(turn: TurnLayout, at: int) -> TurnLayout:
    """A turn after a piece was put in: of messages that a template prints twice, some stands behind it."""

    def moved(run: Run) -> Run:
        start, stop = run
        low = start + (start >= at)
        return (low, max(low, stop + (stop > at)))

    return TurnLayout(turn.message, tuple(map(moved, turn.runs)), turn.verdict, moved(turn.end_of_turn))


def merged(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The same pieces as sorted, disjoint, non-adjacent, non-empty runs."""
    out: list[Run] = []
    for start, stop in sorted(runs):
        if start >= stop:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return tuple(out)
