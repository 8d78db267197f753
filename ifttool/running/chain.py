"""The steps of a recipe, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.errors import UsageError
from ifttool.io.atomic import check_output_dir
from ifttool.io.inputs import STDIN, printable
from ifttool.io.places import is_inside
from ifttool.packing.options import PackOptions
from ifttool.packing.runner import check_output, pack_shards
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
    packed = functions[PACK](second.inputs, second.output, **{**second.options, **_forced(given)})
    return ChainSummary(shards, first.output, packed, second.output)


def check_steps(steps: Sequence[Step], sources: Sequence[str], given: Mapping[str, Any]) -> None:
    """Refuse packing that can't be done before the run whose shards it packs, which may take hours.

    Args:
        steps: As for :func:`run_steps`.
        sources: The inputs of the first one, as files.
        given: As for :func:`run_steps`.

    Raises:
        UsageError: An option of packing or its output can't be used.
    """
    first, *others = steps
    for step in others:
        options = {name: value for name, value in step.options.items() if name != "force"}
        if "length" not in options:
            raise UsageError(f"{PACK}.length is missing", hint="say how many tokens a pack holds")
        try:
            PackOptions(**options)
        except UsageError as error:
            raise UsageError(f"[{PACK}]: {error.message}", hint=error.hint) from None
        if is_inside(step.output, first.output) or is_inside(first.output, step.output):
            raise UsageError(
                f"{PACK}.output {printable(step.output)} and output {printable(first.output)} hold each other",
                hint="choose folders beside each other",
            )
        check_output(step.output, [name for name in sources if name != STDIN])
        check_output_dir(step.output, force=bool({**step.options, **_forced(given)}.get("force")))


def read_run(path: Path, output: Path, *, force: bool) -> Replay | PackReplay:
    """The run that wrote a manifest; see :mod:`ifttool.running.replay`."""
    return read_pack_replay(path) or read_replay(path, output, force=force)


def repeat_run(
    replay: Replay | PackReplay, output: Path, *, force: bool, workers: int | None, on_progress: Any, resume: bool
) -> ChainSummary:
    """Do a run once more."""
    if isinstance(replay, PackReplay):
        packed = pack_shards(replay.sources, output, replay.options, force=force)
        shards = RunSummary(packed.tally, packed.shards, True, packed.rejects)
        return ChainSummary(shards, str(output), packed, str(output), _notes(replay))
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
    return ChainSummary(summary, str(output), notes=_notes(replay))


def _forced(given: Mapping[str, Any]) -> dict[str, Any]:
    """A run that is finished rather than begun replaces what it packed before."""
    return {"force": True} if given.get("force") or given.get("resume") else {}


def _notes(replay: Replay | PackReplay) -> tuple[str, ...]:
    changed = replay.other_versions
    return (f"versions changed since the run, so bytes may differ: {', '.join(changed)}",) if changed else ()
