"""Second pass: the tokens of one split, from input order into packs, in bounded memory."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ifttool.errors import InputChanged
from ifttool.io.inputs import printable
from ifttool.output import Shard
from ifttool.packing.figures import Fill
from ifttool.packing.inputs import read_rows
from ifttool.packing.options import PackOptions
from ifttool.packing.packs import Packs
from ifttool.packing.planner import Plan, plan_packs
from ifttool.packing.spill import Spill, gather
from ifttool.packing.survey import Survey
from ifttool.packing.writer import PackFormat, write_packs
from ifttool.samples import LongArray
from ifttool.shards import ROW_GROUP_TOKENS

# As many tokens as readers of a cloud disk like in one file: some 100 MB.
SHARD_TOKENS = 50_000_000
_GROUPS_PER_BUCKET = 8


class SplitPacker:
    """Packs the rows of one split.

    Args:
        split: Its name.
        surveys: Its shards by their index among all inputs.
        options: How.
    """

    def __init__(self, split: str, surveys: Mapping[int, Survey], options: PackOptions) -> None:
        self._split, self._surveys, self._options = split, surveys, options
        self._indexes = np.array(list(surveys), np.int64)
        self._lengths = np.concatenate([survey.lengths for survey in surveys.values()])
        sizes = np.array([len(survey.lengths) for survey in surveys.values()])
        self._firsts = np.cumsum(sizes) - sizes
        self._plan: Plan = plan_packs(
            self._lengths - options.form.unread, length=options.length, window=options.window, seed=options.seed
        )
        # Packs are cut into row groups of equal numbers; readers decode a whole group for one row.
        self._group = max(1, ROW_GROUP_TOKENS // options.length)
        self.fill = Fill(options.length, packs=len(self._plan))
        for survey in surveys.values():
            self.fill.overlong += len(survey.overlong)
            self.fill.empty += len(survey.empty)

    def write(self, output: Path, form: PackFormat) -> list[Shard]:
        """Read the tokens, write the shards under their final names."""
        count = self._options.shards or -(-int(self._lengths.sum(dtype=np.int64)) // SHARD_TOKENS)
        count = max(1, min(count, len(self._plan)))
        bounds = [index * len(self._plan) // count for index in range(count + 1)]
        step = self._group * _GROUPS_PER_BUCKET
        cuts = np.array(sorted({*bounds, *range(0, len(self._plan), step)}), np.int64)
        written = []
        with _scratch(output) as folder:
            spill = self._distribute(cuts, folder)
            for number, (low, high) in enumerate(itertools.pairwise(bounds)):
                name = f"{self._split}-{number:05d}-of-{count:05d}.parquet"
                buckets = range(*np.searchsorted(cuts, (low, high)).tolist())
                groups = (group for bucket in buckets for group in self._groups(bucket, cuts, spill))
                info = write_packs(output / "data" / name, groups, form, provenance=output / "provenance" / name)
                self.fill.tokens += info.tokens
                self.fill.trained_tokens += info.trained_tokens
                written.append(Shard(f"data/{name}", f"provenance/{name}", info))
        return written

    def _distribute(self, cuts: LongArray, folder: Path) -> Spill:
        """Send every row to its bucket."""
        row_cuts = self._plan.packs[cuts]
        buckets = np.full(len(self._lengths), -1, np.int32)
        buckets[self._plan.rows] = np.repeat(np.arange(len(cuts) - 1, dtype=np.int32), np.diff(row_cuts))
        spill = Spill(folder, buckets=max(0, len(cuts) - 1))
        for first, survey in zip(self._firsts.tolist(), self._surveys.values(), strict=True):
            position, end = first, first + len(survey.lengths)
            for rows in read_rows(survey.shard):
                lengths = np.diff(rows.starts)
                if not np.array_equal(lengths, self._lengths[position : min(position + len(lengths), end)]):
                    raise InputChanged(f"{printable(survey.shard.path)} changed while it was packed", hint="run again")
                spill.add(rows.tokens, rows.starts, buckets[position : position + len(lengths)])
                position += len(lengths)
            if position != end:
                raise InputChanged(f"{printable(survey.shard.path)} changed while it was packed", hint="run again")
        return spill

    def _groups(self, bucket: int, cuts: LongArray, spill: Spill) -> Iterator[Packs]:
        """The packs of a bucket, row group by row group."""
        starts = self._plan.packs[cuts[bucket] : cuts[bucket + 1] + 1]
        rows = self._plan.rows[starts[0] : starts[-1]]
        lengths = self._lengths[rows].astype(np.int64)
        # They come from the spill in input order, that is ascending.
        order = np.argsort(rows)
        ends = np.empty(len(rows), np.int64)
        ends[order] = np.cumsum(lengths[order])
        tokens = gather(spill.take(bucket, tokens=int(lengths.sum())), ends - lengths, ends)
        sequences = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        mask = (tokens >= 0).astype(np.int8)
        # Nothing before it in its own sequence predicts a first token; in a pack the sequence before it would.
        self.fill.first_tokens_masked += int(mask[sequences[:-1]].sum(dtype=np.int64))
        mask[sequences[:-1]] = 0
        self.fill.sequences += len(rows)
        self.fill.used += int(lengths.sum()) - len(rows) * self._options.form.unread
        shard = np.searchsorted(self._firsts, rows, side="right") - 1
        packs = Packs(
            np.where(tokens >= 0, tokens, ~tokens),
            mask,
            sequences,
            starts - starts[0],
            self._indexes[shard],
            rows - self._firsts[shard],
        )
        for start in range(0, len(packs), self._group):
            yield packs.slice(start, min(start + self._group, len(packs)))


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A hidden folder that a later run with the same output removes if this one dies."""
    with TemporaryDirectory(prefix=".ifttool-", suffix=".tmp", dir=output) as name:
        yield Path(name)
