"""An output folder against its manifest and its inputs."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.errors import TokenizerError, UsageError
from ifttool.io.inputs import printable
from ifttool.manifest import read_manifest
from ifttool.packing.schema import FORMAT as PACKED
from ifttool.recipe import Recipe
from ifttool.schema import FORMAT
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.verification.comparing import compare_picks
from ifttool.verification.folder_checks import check_counts, check_side_files, note_versions
from ifttool.verification.originals import Originals, find_originals
from ifttool.verification.packs import PackVerification
from ifttool.verification.reference import Reference
from ifttool.verification.report import Report
from ifttool.verification.shard_scan import Pick, ShardScan
from ifttool.worker import build_template

# Samples held until their inputs are read again: about 320 MB. Each pass reads the inputs from their start.
_TOKENS_AT_ONCE = 64_000_000


def verify_folder(root: Path, *, sample: int | None, inputs: Sequence[str] | None = None) -> Report:
    """Check an output folder.

    Args:
        root: The folder, with its ``manifest.json``; its shards may be packed.
        sample: How many samples to derive again, chosen by the digest of the manifest; None for all. Packs are looked
            up whole in the shards they were made of, unless it is 0.
        inputs: Folders, files and globs where the inputs are now; None for where they were.

    Raises:
        UsageError: It isn't an output of ifttool, or ``inputs`` names nothing.
        TokenizerError: Neither the tokenizer beside the shards nor the recorded one is the one of the shards.
        RunError: I/O failed.
    """
    manifest = read_manifest(root / "manifest.json", FORMAT, PACKED)
    report = Report()
    try:
        if manifest["format"] == PACKED:
            return PackVerification(root, manifest, report).run(compare=sample != 0, inputs=inputs)
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
        note_versions(manifest, report)
        check_side_files(self._root, manifest, report)
        if chosen:
            originals = find_originals(manifest["input_files"], inputs)
            recipe = Recipe.from_json(manifest["recipe"])
            tokenizer = self._tokenizer(recipe)
            template = build_template(recipe, tokenizer.special_tokens)
            self._scan_shards(chosen, originals, Reference(recipe, template, tokenizer))
        else:
            self._scan_shards(chosen, Originals({}, {}), None)
        check_counts(self._root, manifest, self._scan.lines, report)
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


def _chosen(manifest: Mapping[str, Any], rows: int, sample: int | None) -> Sequence[int]:
    """Numbers of the samples to derive again: the same ones for the same output, others for another."""
    if sample is None or sample >= rows:
        return range(rows)
    seed = "".join(shard["content_sha256"] for shard in manifest["shards"])
    return sorted(random.Random(seed).sample(range(rows), sample))
