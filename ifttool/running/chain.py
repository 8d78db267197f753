"""The steps of a recipe, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.packing.runner import pack_shards
from ifttool.pipeline import RunSummary, run_shards
from ifttool.running.recipe_file import PACK, Functions, Step
from ifttool.running.replay import PackReplay, Replay, read_pack_replay, read_replay

if TYPE_CHECKING:
    from ifttool.packing.figures import PackSummary


@dataclass(frozen=True, slots=True)
class ChainSummary:
    """The outcome of a recipe.

    Attributes:
        shards: What the first step made; of a repeated packing run, the packs.
        output: Where it went.
        packed: What packing made; None if the recipe doesn't pack, or the first step wasn't committed.
        packed_output: Where that went.
        notes: What else to know.
    """

    shards: RunSummary
    output: str
    packed: "PackSummary | None" = None
    packed_output: str | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**self.shards.as_json(), "packed": None if self.packed is None else self.packed.as_json()}


def run_steps(steps: Sequence[Step], functions: Functions, given: Mapping[str, Any]) -> ChainSummary:
    """Do the steps of a recipe file. If too many rows are rejected, nothing is packed.

    Args:
        steps: What to do: a run over conversations, and packing if there is a second step.
        functions: The functions of the steps.
        given: Options of the caller, which go before the file's.
    """
    first, *others = steps
    shards = functions[first.name](first.inputs, first.output, **{**first.options, **given})
    if not others or not shards.committed:
        return ChainSummary(shards, first.output)
    (second,) = others
    forced = {"force": True} if given.get("force") or given.get("resume") else {}
    packed = functions[PACK](second.inputs, second.output, **{**second.options, **forced})
    return ChainSummary(shards, first.output, packed, second.output)


def run_manifest(
    path: Path, output: Path, *, force: bool, workers: int | None, on_progress: Any, resume: bool
) -> tuple[ChainSummary, Replay | PackReplay]:
    """Repeat the run that wrote a manifest, and say what it was; see :mod:`ifttool.running.replay`."""
    packing = read_pack_replay(path)
    if packing is not None:
        packed = pack_shards(packing.sources, output, packing.options, force=force)
        shards = RunSummary(packed.tally, packed.shards, True, packed.rejects)
        return ChainSummary(shards, str(output), packed, str(output), _notes(packing)), packing
    replay = read_replay(path, output, force=force)
    summary = run_shards(
        replay.recipe,
        replay.sources,
        replay.target,
        tolerance=replay.tolerance,
        arrangement=replay.arrangement,
        on_progress=on_progress,
        workers=workers,
        resume=resume,
    )
    return ChainSummary(summary, str(output), notes=_notes(replay)), replay


def _notes(replay: Replay | PackReplay) -> tuple[str, ...]:
    changed = replay.other_versions
    return (f"versions changed since the run, so bytes may differ: {', '.join(changed)}",) if changed else ()
