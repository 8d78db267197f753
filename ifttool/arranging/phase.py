"""The arrangement of one run: a survey before the work, draws for the splits, shards out of their parts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ifttool.arranging.arrange import Stage, arrange
from ifttool.arranging.draw import Draw
from ifttool.arranging.routing import Routes
from ifttool.arranging.spec import Arrangement
from ifttool.arranging.staged import STAGE_SCHEMA, Part
from ifttool.arranging.survey import Surveyed, SurveyJob, resolve_survey
from ifttool.arranging.writing import Arranged
from ifttool.engine import Crew
from ifttool.errors import UsageError
from ifttool.io.inputs import STDIN, printable
from ifttool.ledger import Tally
from ifttool.recipe import Recipe
from ifttool.split import PartPaths, Split, SplitResult


class Phase:
    """What lies between the inputs of a run and its shards when options ask for it.

    Args:
        arrangement: What they ask.
        sources: The inputs.
        stage: Where files are kept on the way.

    Attributes:
        part_schema: The schema of parts.
    """

    def __init__(self, arrangement: Arrangement, sources: Sequence[str], stage: Stage) -> None:
        self._arrangement, self._sources, self._stage = arrangement, tuple(sources), stage
        self._numbers = {source: number for number, source in enumerate(sources)}
        self._is_surveyed = False
        self._source_of: dict[int, str] = {}
        self._routes = Routes()
        self.part_schema: pa.Schema = STAGE_SCHEMA

    def survey(self, splits: Iterable[Split], recipe: Recipe, crew: Crew) -> None:
        """Look at all conversations if that is needed to decide about one."""
        if not self._arrangement.needs_survey:
            return
        jobs = (SurveyJob(self.drawn(split), recipe, self._found(split.index)) for split in splits)
        surveyed = [
            Surveyed(
                job.split.index,
                self._numbers.get(job.split.source, 0),
                self._arrangement.weight_of(job.split.source),
                self._found(job.split.index),
            )
            for job, _ in crew.work(jobs)
        ]
        surveyed.sort(key=lambda one: one.index)
        resolve_survey(surveyed, dedup=self._arrangement.dedup != "none")
        self._is_surveyed = True

    def drawn(self, split: Split) -> Split:
        """A split with what decides about its rows."""
        self._source_of[split.index] = split.source
        if not self._arrangement.needs_keys:
            return split
        left_out = self._found(split.index) if self._is_surveyed else None
        weight = self._arrangement.weight_of(split.source)
        return replace(split, draw=Draw(weight, self._arrangement.seed, left_out, self._sources))

    def finish(
        self, results: Sequence[SplitResult], paths: Callable[[int], PartPaths], schema: pa.Schema
    ) -> list[Arranged]:
        """Make shards of the parts.

        Args:
            results: What came of the splits, in input order.
            paths: Where the part of a split is, by its index.
            schema: Training columns and metadata of the shards.
        """
        parts = []
        for result in results:
            where = paths(result.index)
            if result.shard.rows and where.provenance is not None:
                number = self._numbers[self._source_of[result.index]]
                parts.append(Part(result.index, number, where.shard, where.provenance))
        shards, self._routes = arrange(parts, self._arrangement, self._stage, schema=schema, names=self._sources)
        return shards

    def counted(self, tally: Tally) -> Tally:
        """A tally with the samples that were written: copies count."""
        sizes = self._routes.splits.values()
        return replace(
            tally,
            samples=sum(size.rows for size in sizes),
            tokens=sum(size.tokens for size in sizes),
            trained_tokens=sum(size.trained_tokens for size in sizes),
        )

    def as_json(self) -> dict[str, Any]:
        """What each split holds, and what each input gave to it."""
        return self._routes.as_json(self._sources)

    def _found(self, index: int) -> Path:
        return self._stage.folder / f"survey-{index:05d}.npy"


def check_arrangement(arrangement: Arrangement, sources: Sequence[str], *, is_file: bool) -> None:
    """Refuse what can't be done with these inputs or this output, before anything is written.

    Raises:
        UsageError: One file can't hold splits or shards, or an input that can be read only once had to be read twice.
    """
    if is_file:
        for name in ("validation", "shards", "shard_tokens"):
            if getattr(arrangement, name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} needs a folder to write to: -o names a single file",
                    hint="give -o a folder",
                )
    if arrangement.needs_survey:
        once = next((source for source in sources if source == STDIN or not Path(source).is_file()), None)
        if once is not None:
            why = "--dedup" if arrangement.dedup != "none" else "a limit of rows"
            raise UsageError(
                f"{why} reads its inputs twice, and {printable(once)} can be read only once",
                hint="write it to a file first",
            )
