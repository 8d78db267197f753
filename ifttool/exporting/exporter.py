"""One export: finished shards in, a folder in another layout out, with a manifest of what was made of what."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ifttool.errors import UsageError
from ifttool.exporting.hf_disk import write_hf_disk
from ifttool.exporting.mds import write_mds
from ifttool.exporting.megatron_bin import write_megatron_bin
from ifttool.exporting.messages import write_messages
from ifttool.exporting.new_folder import MANIFEST, new_folder
from ifttool.exporting.olmo_core import write_olmo_core
from ifttool.exporting.shard_set import ShardSet, open_shards
from ifttool.exporting.summary import ExportSummary, SplitFigures
from ifttool.io.inputs import printable
from ifttool.manifest import versions
from ifttool.nearest import nearest_hint
from ifttool.shards import file_sha256

FORMAT = "ifttool.export/1"

TARGETS: Mapping[str, Callable[..., dict[str, SplitFigures]]] = {
    "hf-disk": write_hf_disk,
    "olmo-core": write_olmo_core,
    "mds": write_mds,
    "megatron-bin": write_megatron_bin,
    "messages": write_messages,
}
_OPTIONS = {
    "lengths": "hf-disk",
    "eos_anywhere": "olmo-core",
    "vocab_size": "olmo-core",
    "drop_loss_mask": "megatron-bin",
    "inputs": "messages",
}
"""Option → the target that knows it."""


def export_folder(
    folder: Path, output: Path, *, to: str, force: bool = False, options: Mapping[str, Any]
) -> ExportSummary:
    """Write the shards of a finished run in another layout; the output appears whole or not at all.

    Args:
        folder: Output folder of a run.
        output: The folder to make; not inside ``folder``.
        to: One of :data:`TARGETS`.
        force: Replace an earlier export.
        options: By name; those that are None or False count as not given.

    Raises:
        UsageError: The target or an option is unknown to it, or the shards can't be exported so.
        InputChanged: A shard is damaged.
        RunError: I/O failed; there is no output.
    """
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    _check_target(to, given)
    if output.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"the output {printable(str(output))} lies in the folder of the shards", hint="choose another")
    shards = open_shards(folder)
    with new_folder(output, force=force, mark=FORMAT) as draft:
        figures = TARGETS[to](shards, draft, **given)
        summary = ExportSummary(output, to, figures)
        _write_manifest(draft, shards, summary, given)
    return summary


def _check_target(to: str, given: Mapping[str, Any]) -> None:
    if to not in TARGETS:
        raise UsageError(f"--to can't be {to!r}", hint=nearest_hint(to, TARGETS))
    foreign = next((name for name in given if _OPTIONS[name] != to), None)
    if foreign is not None:
        raise UsageError(f"--{foreign.replace('_', '-')} is for --to {_OPTIONS[foreign]} only")


def _write_manifest(draft: Path, shards: ShardSet, summary: ExportSummary, given: Mapping[str, Any]) -> None:
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT,
        "versions": versions(),
        "to": summary.target,
        # Where inputs lie now isn't part of what was made.
        "options": {name: value for name, value in given.items() if name != "inputs"},
        "shards": {"manifest_sha256": file_sha256(shards.root / "manifest.json")},
        "splits": summary.as_json()["splits"],
        "files": {
            path.relative_to(draft).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in files
        },
    }
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
