"""A packed output folder against its manifest and the shards it was packed from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.errors import IfttoolError
from ifttool.io.inputs import printable
from ifttool.io.shard_lengths import read_columns
from ifttool.packing.schema import LAYOUTS, packed_batch, packed_schema, stored_mask
from ifttool.samples import LongArray, Samples
from ifttool.shards import ContentDigest
from ifttool.verification.folder_checks import (
    check_counts,
    check_file,
    check_side_files,
    compare_totals,
    note_versions,
)
from ifttool.verification.originals import find_originals
from ifttool.verification.pack_reading import PackOrigins, packs_of, read_origins
from ifttool.verification.report import Report
from ifttool.verification.row_digests import Digests, row_digests, shard_digests


class PackVerification:
    """One verification of packs: all of their tokens, by digests of the rows they were made of.

    Rows lie scattered over packs, so each is compared by 16 bytes of BLAKE2b over its ids and mask: every shard is
    read once and in order, and memory grows by these 16 bytes a row.
    """

    def __init__(self, root: Path, manifest: Mapping[str, Any], report: Report) -> None:
        self._root, self._manifest, self._report = root, manifest, report
        self._layout = LAYOUTS[manifest["options"]["layout"]]
        self._sources: dict[str, Digests] = {}
        self._lines: dict[str, list[LongArray]] = {}

    def run(self, *, compare: bool, inputs: Sequence[str] | None) -> Report:
        report, manifest = self._report, self._manifest
        report.packs = sum(shard["rows"] for shard in manifest["shards"])
        report.rows = manifest["packing"]["sequences"]
        report.sampled = report.rows if compare else 0
        note_versions(manifest, report)
        check_side_files(self._root, manifest, report)
        if compare:
            self._read_sources(inputs)
        for entry in manifest["shards"]:
            self._scan(entry)
        check_counts(self._root, manifest, self._lines, report)
        self._check_once()
        return report

    def _read_sources(self, inputs: Sequence[str] | None) -> None:
        originals = find_originals(self._manifest["input_files"], inputs)
        for source, place in originals.found.items():
            digests = self._sources[source] = shard_digests(place)
            lines = self._manifest["inputs"][source]["lines"]
            if len(digests) != lines:
                message = f"{printable(source)} has {len(digests)} rows, the manifest says {lines}"
                self._report.add("counts", "manifest.json", message)
        for source, reason in originals.missing.items():
            count = self._manifest["inputs"][source]["kept"]
            self._report.unverified.append(f"{printable(source)} {reason}: {count} samples weren't compared")

    def _scan(self, entry: Mapping[str, Any]) -> None:
        path: str = entry["path"]
        is_there = check_file(self._root, path, entry["sha256"], self._report, size=entry["bytes"])
        sidecar = self._root / entry["provenance"]
        try:
            if is_there and sidecar.is_file():
                self._check_rows(entry, read_origins(sidecar))
        except IfttoolError as error:
            self._report.add("content", path, error.message)

    def _check_rows(self, entry: Mapping[str, Any], origins: PackOrigins) -> None:
        path: str = entry["path"]
        digest = ContentDigest()
        rows = tokens = trained = longest = 0
        for batch in read_columns(self._root / path, self._layout.columns):
            packs = packs_of(batch, self._layout)
            if packs is None:
                self._report.add("content", path, "lengths of samples don't add up to their packs", row=rows + 1)
                return
            expected = packed_batch(packs, self._layout, packed_schema(self._layout, {}))
            for name in self._layout.columns:
                if not batch.column(name).equals(expected.column(name)):
                    self._report.add("content", path, f"{name} doesn't fit the other columns", row=rows + 1)
            digest.update(Samples(packs.ids, stored_mask(packs, self._layout), packs.tokens, ()))
            own = origins.slice(rows, rows + len(packs))
            if not np.array_equal(np.diff(packs.packs), np.diff(own.starts)):
                self._report.add("content", path, "provenance has other numbers of samples in packs", row=rows + 1)
                return
            marked = np.where(packs.mask.view(np.bool_), packs.ids, ~packs.ids)
            self._look_up(path, rows, own, row_digests(marked, packs.sequences))
            sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(packs.mask, dtype=np.int64)))[packs.tokens]
            for name, actual in (("tokens", np.diff(packs.tokens)), ("trained_tokens", np.diff(sums))):
                for wrong in np.flatnonzero(own.figures[name] != actual)[:1]:
                    message = f"provenance says {own.figures[name][wrong]} {name.replace('_', ' ')}"
                    self._report.add("content", path, f"{message}, it has {actual[wrong]}", row=rows + int(wrong) + 1)
            rows += len(packs)
            tokens += len(packs.ids)
            trained += int(sums[-1])
            longest = max(longest, int(np.diff(packs.tokens).max(initial=0)))
        totals = {"rows": rows, "tokens": tokens, "trained_tokens": trained, "longest": longest}
        compare_totals(path, entry, {**totals, "content_sha256": digest.hexdigest()}, self._report)
        if len(origins) != rows:
            self._report.add("content", entry["provenance"], f"has {len(origins)} rows, its shard {rows}")

    def _look_up(self, path: str, first: int, own: PackOrigins, digests: Digests) -> None:
        """Compare the samples of some packs with the rows that provenance names."""
        for source, chosen in own.by_source():
            rows = own.rows[chosen]
            self._lines.setdefault(source, []).append(rows)
            originals = self._sources.get(source)
            if originals is None:
                continue
            self._report.compared += len(chosen)
            for one in chosen[_differing(digests[chosen], originals, rows)].tolist():
                pack = int(np.searchsorted(own.starts, one, side="right")) - 1
                message = f"sample {one - int(own.starts[pack]) + 1} of the pack isn't the row it was made of"
                row = first + pack + 1
                self._report.add("row", path, message, row=row, source=source, line=int(own.rows[one]) + 1)

    def _check_once(self) -> None:
        """No row is packed twice, and packs hold as many as the manifest says."""
        for source, parts in self._lines.items():
            rows, counts = np.unique(np.concatenate(parts), return_counts=True)
            for row in rows[counts > 1][:1].tolist():
                self._report.add("counts", "provenance", f"row {row + 1} of {printable(source)} is packed twice")
        total = sum(len(rows) for parts in self._lines.values() for rows in parts)
        if total != self._report.rows:
            message = f"packs hold {total} samples, the manifest says {self._report.rows}"
            self._report.add("counts", "provenance", message)


def _differing(digests: Digests, originals: Digests, rows: LongArray) -> Any:
    """Whether each digest is another one than that of its row, or there is no such row."""
    is_there = (rows >= 0) & (rows < len(originals))
    same = np.zeros(len(rows), np.bool_)
    same[is_there] = (digests[is_there] == originals[rows[is_there]]).all(axis=1)
    return ~same
