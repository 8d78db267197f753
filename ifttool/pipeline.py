"""A run: inputs → splits → parts → shards → manifest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ifttool.api_types import OnProgress
from ifttool.arranging.phase import Phase
from ifttool.arranging.spec import Arrangement
from ifttool.engine import Crew, Task, number_of_workers
from ifttool.io.input_digests import InputDigests
from ifttool.io.sizes import is_large
from ifttool.ledger import SourceLedger, Tally
from ifttool.manifest import complete, schema_metadata
from ifttool.output import FolderSink, Shard, Sink, join_rejects
from ifttool.recipe import Recipe
from ifttool.rehearsal import rows_all_over
from ifttool.running.journal import Journal, can_be_resumed, finished_run, run_key
from ifttool.schema import training_schema
from ifttool.shards import ShardInfo
from ifttool.split import Split, SplitResult, read_splits
from ifttool.target import Target
from ifttool.tokenizer.fast_load import FastLoad
from ifttool.tolerance import Tolerance
from ifttool.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The outcome of a run.

    Attributes:
        tally: Everything counted.
        shards: What was written; empty if the run wasn't committed.
        committed: Whether the output is complete; False if there were too many rejects.
        rejects: The file of rows that were left out; None if there are none.
        splits: For an arranged run, what each split holds and what each input gave to it.
    """

    tally: Tally
    shards: tuple[Shard, ...]
    committed: bool
    rejects: Path | None
    splits: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "committed": self.committed,
            "rejects": None if self.rejects is None else str(self.rejects),
            **self.tally.as_json(),
            "renders": dict(sorted(self.tally.renders.items())),
            **({} if self.splits is None else {"splits": self.splits}),
            "shards": [shard.as_json() for shard in self.shards],
        }


def run_shards(
    recipe: Recipe,
    sources: Sequence[str],
    target: Target,
    *,
    tolerance: Tolerance,
    arrangement: Arrangement | None = None,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
    workers: int | None = None,
    resume: bool = False,
    fast: FastLoad | None = None,
) -> RunSummary:
    """Turn conversations into shards. The bytes written don't depend on the number of workers (None: all cores).

    With an ``arrangement`` parts go through :class:`ifttool.arranging.phase.Phase` before they are shards.
    Every row is scanned even if the run can't be committed, so that all faults are known at once.
    With ``resume`` parts of a run that was killed are used if all they depend on is the same; the bytes are those of
    a run that wasn't, and parts that are whole outlive errors.

    Raises:
        UsageError: Options, template, tokenizer or inputs can't be used, or aren't those of the run to be resumed;
            nothing was written.
        RunError: I/O failed; nothing of this run is left but what ``rejects`` holds.
    """
    workers = number_of_workers(workers)
    is_much = is_large(sources)
    worker = Worker(recipe, eager=is_much, fast=fast)
    worker.check_fit()
    arrangement = arrangement or Arrangement()
    target.check(sources, arrangement)
    options = _options(target, tolerance, arrangement)
    key = run_key(worker, sources, options)
    if resume and (manifest := finished_run(target.path, key, force=target.force)) is not None:
        return _summary_of(manifest, target)
    # A signal that came between this and the try would leave the place behind.
    sink = target.open(staged=not arrangement.is_default, keep=resume and can_be_resumed(target.path))
    journal: Journal | None = None
    try:
        phase = None if arrangement.is_default else Phase(arrangement, sources, sink.stage)
        schema = training_schema(target.columns, {**schema_metadata(recipe, worker), "layout": target.layout})
        # What is read twice must not change in between.
        digests = InputDigests(sources if isinstance(sink, FolderSink) or arrangement.needs_survey else ())
        journal = Journal(sink.root, key, digests) if isinstance(sink, FolderSink) else None
        tally = Tally({source: SourceLedger() for source in sources})
        splits, size = _sized(read_splits(sources, stdin=stdin), workers)
        if is_much or size > 1:
            worker.rehearse(rows_all_over(sources))
        with Crew(worker, size) as crew, digests, journal or nullcontext():
            if journal is not None:
                journal.clear_leftovers()
            if phase is not None:
                phase.survey(read_splits(sources), recipe, crew)
                splits = map(phase.drawn, splits)
            part_schema = schema if phase is None else phase.part_schema
            results = _Progress(tally, on_progress).watched(_work(splits, sink, journal, crew=crew, schema=part_schema))
            inputs = digests.results()
        tally = sum((result.tally for result in results), tally)
        committed = tolerance.allows(tally.total)
        rejects = target.rejects if any(result.rejects for result in results) else None
        join_rejects([sink.parts(result.index).rejects for result in results], rejects and sink.rejects)
        if not committed:
            rejects = sink.refuse()
            _give_up(sink, journal)
            return RunSummary(tally, (), False, rejects)
        if phase is None:
            shards = sink.finish(results)
        else:
            shards = sink.place(phase.finish(results, sink.parts, schema))
            tally = phase.counted(tally)
        made = None if phase is None else phase.as_json()
        if isinstance(sink, FolderSink) and journal is not None:
            complete(sink, worker, options=options, digests=inputs, tally=tally, shards=shards, splits=made)
            journal.remove()
    except BaseException:
        if not resume:
            _give_up(sink, journal)
        raise
    return RunSummary(tally, tuple(shards), True, rejects, made)


@dataclass(slots=True)
class _Progress:
    """What was counted so far, for whoever wants to know."""

    tally: Tally
    report: OnProgress | None
    read: int = 0

    def watched(self, work: Iterable[tuple[int, SplitResult]]) -> list[SplitResult]:
        """The results of all splits, in input order; reports as they come."""
        results = []
        for size, result in work:
            results.append(result)
            self.tally += result.tally
            self.read += size
            if self.report is not None:
                self.report(self.tally, self.read)
        return sorted(results, key=attrgetter("index"))


def _work(
    splits: Iterable[Split],
    sink: Sink,
    journal: Journal | None,
    *,
    crew: Crew,
    schema: "pa.Schema",
) -> Iterator[tuple[int, SplitResult]]:
    """Sizes and results of all splits: as they are ready, then those of parts that were there."""
    kept = []

    def left() -> Iterator[Task]:
        for split in splits:
            paths = sink.parts(split.index)
            result = None if journal is None else journal.result(split, paths)
            if result is None:
                yield Task(split, paths, schema)
            else:
                kept.append((split.size, result))

    for task, result in crew.work(left()):
        if journal is not None:
            journal.add(task.split, sink.parts(task.split.index), result)
        yield task.split.size, result
    yield from kept


def _sized(splits: Iterator[Split], workers: int) -> tuple[Iterator[Split], int]:
    """The same splits, and how many processes they are worth: no more than there are, and one is soonest done here."""
    first: list[Split] = []
    for split in splits:
        first.append(split)
        # Rows that were read already take memory, so of such splits two are enough.
        if len(first) == workers or (split.part is None and len(first) > 1):
            return chain(first, splits), workers
    return iter(first), len(first)


def _options(target: Target, tolerance: Tolerance, arrangement: Arrangement) -> dict[str, Any]:
    """What decides the bytes beside the recipe, for the manifest."""
    options = {**target.as_json(), "max_rejects": asdict(tolerance)}
    if not arrangement.is_default:
        options["arrangement"] = arrangement.as_json()
    return options


def _give_up(sink: Sink, journal: Journal | None) -> None:
    if journal is not None:
        journal.remove()  # it lies in the folder, which goes last
    sink.discard()


def _summary_of(manifest: Mapping[str, Any], target: Target) -> RunSummary:
    """The outcome of a run that is finished."""
    shards = []
    for entry in manifest["shards"]:
        figures = {name: value for name, value in entry.items() if name not in ("path", "provenance")}
        shards.append(Shard(entry["path"], entry["provenance"], ShardInfo(**figures)))
    rejects = target.rejects if target.rejects.is_file() else None
    return RunSummary(Tally.from_json(manifest), tuple(shards), True, rejects, manifest.get("splits"))
