"""An output folder against its manifest and its inputs."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.arranging.draw import NOT_TAKEN
from ifttool.errors import RunError, TokenizerError, UsageError
from ifttool.io.inputs import printable
from ifttool.ledger import SourceLedger
from ifttool.manifest import changed_versions, read_manifest
from ifttool.recipe import Recipe
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.verification.comparing import compare_picks
from ifttool.verification.originals import Originals, find_originals
from ifttool.verification.reference import Reference
from ifttool.verification.report import Difference, Report
from ifttool.verification.shard_scan import Pick, ShardScan
from ifttool.worker import build_template

# Samples held until their inputs are read again: about 320 MB. Each pass reads the inputs from their start.
_TOKENS_AT_ONCE = 64_000_000


def verify_folder(root: Path, *, sample: int | None, inputs: Sequence[str] | None = None) -> Report:
    """Check an output folder.

    Args:
        root: The folder, with its ``manifest.json``.
        sample: How many samples to derive again, chosen by the digest of the manifest; None for all.
        inputs: Folders, files and globs where the inputs are now; None for where they were.

    Raises:
        UsageError: It isn't an output of ifttool, or ``inputs`` names nothing.
        TokenizerError: Neither the tokenizer beside the shards nor the recorded one is the one of the shards.
        RunError: I/O failed.
    """
    manifest = read_manifest(root / "manifest.json")
    report = Report()
    try:
        return _Verification(root, manifest, report).run(sample=sample, inputs=inputs)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{printable(str(root))}/manifest.json can't be used ({error!r})") from error


class _Verification:
    """One verification, from the files to the tokens."""

    def __init__(self, root: Path, manifest: Mapping[str, Any], report: Report) -> None:
        self._root, self._manifest, self._report = root, manifest, report
        self._scan = ShardScan(root, report)

    def run(self, *, sample: int | None, inputs: Sequence[str] | None) -> Report:
        report, manifest = self._report, self._manifest
        report.rows = sum(shard["rows"] for shard in manifest["shards"])
        chosen = _chosen(manifest, report.rows, sample)
        report.sampled = len(chosen)
        self._note_versions()
        self._check_side_files()
        if chosen:
            originals = find_originals(manifest["input_files"], inputs)
            recipe = Recipe.from_json(manifest["recipe"])
            tokenizer = self._tokenizer(recipe)
            template = build_template(recipe, tokenizer.special_tokens)
            self._scan_shards(chosen, originals, Reference(recipe, template, tokenizer))
        else:
            self._scan_shards(chosen, Originals({}, {}), None)
        self._check_counts()
        return report

    def _scan_shards(self, chosen: Sequence[int], originals: Originals, reference: Reference | None) -> None:
        picks: list[Pick] = []
        left_out: Counter[str] = Counter()
        held = start = 0
        numbers = np.asarray(chosen, np.int64)
        for shard in self._manifest["shards"]:
            low, high = np.searchsorted(numbers, [start, start + shard["rows"]])
            for pick in self._scan.scan(shard, set((numbers[low:high] - start).tolist())):
                if pick.source in originals.found:
                    picks.append(pick)
                    held += len(pick.ids)
                else:
                    left_out[pick.source] += 1
                if held > _TOKENS_AT_ONCE and reference is not None:
                    compare_picks(picks, originals, reference, self._report)
                    picks, held = [], 0
            start += shard["rows"]
        if reference is not None:
            compare_picks(picks, originals, reference, self._report)
        for source, count in left_out.items():
            reason = originals.missing.get(source, "isn't in the manifest")
            name = "standard input" if source == "-" else printable(source)
            self._report.unverified.append(f"{name} {reason}: {count} samples weren't compared")

    def _check_side_files(self) -> None:
        manifest = self._manifest
        files = {f"tokenizer/{name}": sha256 for name, sha256 in manifest["tokenizer"]["files"].items()}
        for path, sha256 in (files | manifest["files"]).items():
            self._scan.check_file(path, sha256)
        known = {shard["path"] for shard in manifest["shards"]}
        for found in sorted((self._root / "data").rglob("*")):
            path = found.relative_to(self._root).as_posix()
            if found.is_file() and path not in known:
                self._differs("file", path, "isn't in the manifest, but a reader of the folder would load it")

    def _check_counts(self) -> None:
        """Conservation: lines of the inputs, rows of the shards and the list of rejects add up."""
        manifest = self._manifest
        for name in ("tokens", "trained_tokens"):
            total = sum(shard[name] for shard in manifest["shards"])
            if total != manifest[name]:
                self._differs("counts", "manifest.json", f"{name} is {manifest[name]}, its shards have {total}")
        if manifest["samples"] != self._report.rows:
            message = f"samples is {manifest['samples']}, its shards have {self._report.rows}"
            self._differs("counts", "manifest.json", message)
        left_out = self._left_out()
        for source, plain in manifest["inputs"].items():
            ledger = SourceLedger.from_json(plain)
            try:
                ledger.check(printable(source))
            except RunError as error:
                self._differs("counts", "manifest.json", error.message.removeprefix("internal error: "))
            lines = self._scan.lines.get(source, [])
            kept = len(np.unique(np.concatenate(lines))) if lines else 0
            if kept != ledger.kept:
                message = f"samples come from {kept} rows of {printable(source)}, the manifest says {ledger.kept}"
                self._differs("counts", "provenance", message)
            # Rows that a weight or limit didn't take aren't listed: nothing is wrong with them.
            listed = ledger.rejected.total() + ledger.dropped.total() - ledger.dropped[NOT_TAKEN]
            if left_out[source] != listed:
                message = f"lists {left_out[source]} rows of {printable(source)}, the manifest says {listed}"
                self._differs("counts", "rejects.jsonl", message)

    def _left_out(self) -> Counter[str]:
        """How many rows of each input ``rejects.jsonl`` lists."""
        path = self._root / "rejects.jsonl"
        counts: Counter[str] = Counter()
        if path.is_file():
            with path.open("rb") as file:
                try:
                    counts.update(json.loads(line)["file"] for line in file)
                except ValueError:
                    self._differs("content", "rejects.jsonl", "isn't JSON lines")
        return counts

    def _tokenizer(self, recipe: Recipe) -> Tokenizer:
        """The tokenizer of the shards: the copy beside them, or else the recorded one."""
        wanted = self._manifest["tokenizer"]["sha256"]
        for place in (str(self._root / "tokenizer"), recipe.tokenizer):
            try:
                tokenizer = load_tokenizer(place)
            except TokenizerError:
                continue
            if tokenizer.sha256 == wanted:
                return tokenizer
        raise TokenizerError(
            f"the tokenizer of these shards isn't there: {printable(str(self._root))}/tokenizer and "
            f"{printable(recipe.tokenizer)} are others or can't be loaded",
            hint="--sample 0 checks digests and counts without it",
        )

    def _note_versions(self) -> None:
        changed = changed_versions(self._manifest)
        if changed:
            self._report.notes.append(f"versions changed since the run: {', '.join(changed)}")

    def _differs(self, kind: str, path: str, message: str) -> None:
        self._report.differences.append(Difference(kind, path, message))


def _chosen(manifest: Mapping[str, Any], rows: int, sample: int | None) -> Sequence[int]:
    """Numbers of the samples to derive again: the same ones for the same output, others for another."""
    if sample is None or sample >= rows:
        return range(rows)
    seed = "".join(shard["content_sha256"] for shard in manifest["shards"])
    return sorted(random.Random(seed).sample(range(rows), sample))
