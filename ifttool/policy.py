"""Which pieces of a layout bear loss. A pure function of the layout and the recipe: it never sees a text."""

from collections.abc import Iterable
from dataclasses import dataclass

from ifttool.recipe import Recipe
from ifttool.template.layout import Layout, Run
from ifttool.template.turns import Verdict

_WORST_FIRST = (Verdict.DROPPED, Verdict.PROMPT, Verdict.HISTORY, Verdict.EXACT)


@dataclass(frozen=True, slots=True)
class Policy:
    """What bears loss in a layout.

    Attributes:
        trained: Runs of pieces, sorted, disjoint and not adjacent.
        starts: Pieces at which completions of trained turns start.
        verdict: The worst verdict among the trained turns, or ``none``.
    """

    trained: tuple[Run, ...]
    starts: tuple[int, ...]
    verdict: str


def policy_for(layout: Layout, recipe: Recipe) -> Policy:
    """Apply a recipe's training options to a layout."""
    verdicts = {turn.verdict for turn in layout.turns}
    worst = next((verdict.value for verdict in _WORST_FIRST if verdict in verdicts), "none")
    starts = tuple(turn.runs[0][0] for turn in layout.turns if turn.runs)
    if recipe.train_on == "all-tokens":
        everything = ((0, len(layout.nodes)),) if recipe.bears_loss else ()
        return Policy(everything, (), worst)
    return Policy(merged(_runs(layout, recipe)), starts, worst)


def _runs(layout: Layout, recipe: Recipe) -> list[Run]:
    blocks = layout.generated if recipe.spans != "completion" else ()
    if blocks or recipe.spans == "generation":
        wanted = {turn.message for turn in layout.turns}
        return [run for message, run in blocks if message is None or message in wanted]
    return [run for turn in layout.turns for run in turn.runs]


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
