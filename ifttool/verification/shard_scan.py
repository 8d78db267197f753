"""One finished shard: digests, page checksums, counts and columns checked; its samples given back for comparison."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ifttool.errors import IfttoolError
from ifttool.io.shard_lengths import read_columns
from ifttool.layouts import COLUMNS
from ifttool.samples import IntArray, LongArray, MaskArray, Samples
from ifttool.schema import flat_values, labels_of, row_starts, token_columns
from ifttool.shards import ContentDigest
from ifttool.verification.folder_checks import check_file, compare_totals
from ifttool.verification.report import Report

_SIDECAR = ("source", "line", "turn", "tokens", "trained_tokens")


@dataclass(frozen=True, slots=True)
class Pick:
    """A sample of a shard that is to be derived again.

    Attributes:
        path: The shard, relative to the output.
        row: Row of the shard, from 1.
        source: Input as recorded.
        line: Line of the input.
        turn: Message it was unrolled for, or None.
        ids: Token ids, shape (tokens,), int32.
        mask: Loss mask, shape (tokens,), int8.
    """

    path: str
    row: int
    source: str
    line: int
    turn: int | None
    ids: IntArray
    mask: MaskArray


class ShardScan:
    """Checks one shard after the other against their manifest entries.

    Args:
        root: The output folder.
        report: Takes what differs.
    """

    def __init__(self, root: Path, report: Report) -> None:
        self._root, self._report = root, report
        self.lines: dict[str, list[LongArray]] = {}
        """For each input, the lines that samples come from, shard by shard."""

    def scan(self, entry: Mapping[str, Any], wanted: Collection[int]) -> Iterator[Pick]:
        """Check a shard of the manifest; yields its rows numbered in ``wanted`` (from 0)."""
        path: str = entry["path"]
        is_there = check_file(self._root, path, entry["sha256"], self._report, size=entry["bytes"])
        try:
            origins = self._origins(entry)
            if is_there:
                yield from self._rows(entry, origins, wanted)
        except IfttoolError as error:
            self._report.add("content", path, error.message)

    def _rows(self, entry: Mapping[str, Any], origins: dict[str, list[Any]], wanted: Collection[int]) -> Iterator[Pick]:
        path: str = entry["path"]
        digest = ContentDigest()
        rows = tokens = trained = longest = 0
        for batch in read_columns(self._root / path, COLUMNS):
            samples = token_columns(batch)
            self._check_columns(path, batch, samples, rows)
            digest.update(samples)
            lengths = np.diff(samples.rows)
            targets = samples.trained_per_row()
            for index in range(batch.num_rows):
                if rows in wanted and rows < len(origins["line"]):
                    low, high = int(samples.rows[index]), int(samples.rows[index + 1])
                    source, line, turn = (origins[name][rows] for name in ("source", "line", "turn"))
                    ids, mask = samples.ids[low:high], samples.mask[low:high]
                    yield Pick(path, rows + 1, source, line, turn, ids, mask)
                rows += 1
            self._check_sidecar(path, origins, start=rows - batch.num_rows, lengths=lengths, targets=targets)
            tokens += int(lengths.sum())
            trained += int(targets.sum())
            longest = max(longest, int(lengths.max(initial=0)))
        actual = {"rows": rows, "tokens": tokens, "trained_tokens": trained, "longest": longest}
        compare_totals(path, entry, {**actual, "content_sha256": digest.hexdigest()}, self._report)
        if len(origins["line"]) != rows:
            message = f"has {len(origins['line'])} rows, its shard {rows}"
            self._report.add("content", entry["provenance"], message)

    def _origins(self, entry: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The provenance of a shard, column by column."""
        columns: dict[str, list[Any]] = {name: [] for name in _SIDECAR}
        sidecar = self._root / entry["provenance"]
        if not sidecar.is_file():
            return columns  # its digest says so
        for batch in read_columns(sidecar, _SIDECAR):
            for name in _SIDECAR:
                columns[name] += batch.column(name).to_pylist()
        sources, lines = np.array(columns["source"], object), np.array(columns["line"], np.int64)
        for source in dict.fromkeys(columns["source"]):
            self.lines.setdefault(source, []).append(np.unique(lines[sources == source]))
        return columns

    def _check_columns(self, path: str, batch: Any, samples: Samples, first: int) -> None:
        """Labels repeat ids and mask, the attention mask is all ones, lists are of one length."""
        expected: dict[str, npt.NDArray[Any]] = {
            "labels": labels_of(samples.ids, samples.mask),
            "attention_mask": np.ones(len(samples.ids), np.int8),
        }
        for name, values in expected.items():
            if name not in batch.schema.names:
                continue
            column = batch.column(name)
            if not np.array_equal(row_starts(column), samples.rows):
                self._report.add("content", path, f"rows of {name} are of other lengths than input_ids")
            elif len(wrong := np.flatnonzero(flat_values(column) != values)):
                row, token = _position(int(wrong[0]), samples.rows)
                message = f"{name} doesn't fit the loss mask"
                self._report.add("content", path, message, row=first + row + 1, token=token)

    def _check_sidecar(
        self, path: str, origins: dict[str, list[Any]], *, start: int, lengths: LongArray, targets: LongArray
    ) -> None:
        stop = min(start + len(lengths), len(origins["line"]))
        for name, actual in (("tokens", lengths), ("trained_tokens", targets)):
            recorded = np.array(origins[name][start:stop], np.int64)
            wrong = np.flatnonzero(recorded != actual[: len(recorded)])
            if len(wrong):
                row = start + int(wrong[0])
                message = f"provenance says {recorded[wrong[0]]} {name.replace('_', ' ')}, it has {actual[wrong[0]]}"
                self._report.add("content", path, message, row=row + 1)


def _position(token: int, rows: LongArray) -> tuple[int, int]:
    """Row and place in it of a token of a batch."""
    row = int(np.searchsorted(rows, token, side="right")) - 1
    return row, token - int(rows[row])
