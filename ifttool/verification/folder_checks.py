"""What is checked of every output folder, whatever its shards hold: files, counts, versions."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.arranging.draw import NOT_TAKEN
from ifttool.errors import RunError
from ifttool.io.inputs import printable
from ifttool.ledger import SourceLedger
from ifttool.manifest import changed_versions
from ifttool.samples import LongArray
from ifttool.shards import file_sha256
from ifttool.verification.report import Report


def check_file(root: Path, path: str, sha256: str, report: Report, *, size: int | None = None) -> bool:
    """Compare a file with its digest; says whether it can be read at all."""
    target = root / path
    report.files += 1
    if not target.is_file():
        report.add("file", path, "is missing")
        return False
    actual = target.stat().st_size
    if size is not None and actual != size:
        report.add("file", path, f"has {actual} bytes, the manifest says {size}")
    elif file_sha256(target) != sha256:
        report.add("file", path, "isn't the file of the manifest: its SHA-256 differs")
    return True


def check_side_files(root: Path, manifest: Mapping[str, Any], report: Report) -> None:
    """Digests of all files but shards; no file among the shards that the manifest doesn't know."""
    tokenizer = manifest["tokenizer"] or {"files": {}}  # packs of foreign shards have none
    files = {f"tokenizer/{name}": sha256 for name, sha256 in tokenizer["files"].items()}
    for path, sha256 in (files | manifest["files"]).items():
        check_file(root, path, sha256, report)
    known = {shard["path"] for shard in manifest["shards"]}
    for found in sorted((root / "data").rglob("*")):
        path = found.relative_to(root).as_posix()
        if found.is_file() and path not in known:
            report.add("file", path, "isn't in the manifest, but a reader of the folder would load it")


def check_counts(
    root: Path, manifest: Mapping[str, Any], lines: Mapping[str, Sequence[LongArray]], report: Report
) -> None:
    """Conservation: lines of the inputs, rows of the shards and the list of rejects add up.

    Args:
        root: The output folder.
        manifest: Its manifest.
        lines: For each input, the lines that samples come from, in any order and number.
        report: Takes what differs.
    """
    for name, column in (("tokens", "tokens"), ("trained_tokens", "trained_tokens"), ("samples", "rows")):
        total = sum(shard[column] for shard in manifest["shards"])
        if total != manifest[name]:
            report.add("counts", "manifest.json", f"{name} is {manifest[name]}, its shards have {total}")
    left_out = _left_out(root, report)
    for source, plain in manifest["inputs"].items():
        ledger = SourceLedger.from_json(plain)
        try:
            ledger.check(printable(source))
        except RunError as error:
            report.add("counts", "manifest.json", error.message.removeprefix("internal error: "))
        found = lines.get(source, [])
        kept = len(np.unique(np.concatenate(found))) if found else 0
        if kept != ledger.kept:
            message = f"samples come from {kept} rows of {printable(source)}, the manifest says {ledger.kept}"
            report.add("counts", "provenance", message)
        # Rows that a weight or limit didn't take aren't listed: nothing is wrong with them.
        listed = ledger.rejected.total() + ledger.dropped.total() - ledger.dropped[NOT_TAKEN]
        if left_out[source] != listed:
            message = f"lists {left_out[source]} rows of {printable(source)}, the manifest says {listed}"
            report.add("counts", "rejects.jsonl", message)


def note_versions(manifest: Mapping[str, Any], report: Report) -> None:
    """Say if something has another version now than in the run."""
    changed = changed_versions(manifest)
    if changed:
        report.notes.append(f"versions changed since the run: {', '.join(changed)}")


def compare_totals(path: str, entry: Mapping[str, Any], actual: Mapping[str, Any], report: Report) -> None:
    """What a shard holds against what the manifest says of it."""
    for name, value in actual.items():
        if value != entry[name]:
            report.add("content", path, f"{name} is {value}, the manifest says {entry[name]}")


def _left_out(root: Path, report: Report) -> Counter[str]:
    """How many rows of each input ``rejects.jsonl`` lists."""
    path = root / "rejects.jsonl"
    counts: Counter[str] = Counter()
    if path.is_file():
        with path.open("rb") as file:
            try:
                counts.update(json.loads(line)["file"] for line in file)
            except ValueError:
                report.add("content", "rejects.jsonl", "isn't JSON lines")
    return counts
