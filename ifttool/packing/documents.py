"""What stands beside packed shards: tokenizer, dataset card, manifest."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ifttool import __version__
from ifttool.io.atomic import copy_atomic, write_bytes_atomic
from ifttool.io.input_digests import InputDigest
from ifttool.ledger import Tally
from ifttool.manifest import versions
from ifttool.output import FolderSink, Shard
from ifttool.packing.figures import Fill
from ifttool.packing.inputs import InputShard
from ifttool.packing.options import PackOptions
from ifttool.packing.schema import FORMAT
from ifttool.shards import file_sha256


def common_metadata(shards: Sequence[InputShard], options: PackOptions) -> dict[str, Any]:
    """What packed shards say of themselves: what all inputs say of themselves, and how they were packed."""
    first, *others = (shard.metadata for shard in shards)
    common = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return {**common, "format": FORMAT, "ifttool": __version__, "packing": options.as_json()}


def complete(
    sink: FolderSink,
    options: PackOptions,
    *,
    shards: Sequence[InputShard],
    digests: Mapping[str, InputDigest],
    tally: Tally,
    fills: Mapping[str, Fill],
    written: Sequence[Shard],
) -> None:
    """Write what stands beside the shards, the manifest last: where it is, the output is complete."""
    folders = list(dict.fromkeys(folder for shard in shards if (folder := shard.folder) is not None))
    write_bytes_atomic(sink.root / "README.md", _card(fills).encode())
    sink.write_manifest(
        {
            "format": FORMAT,
            "versions": versions(),
            "options": options.as_json(),
            "sources": [_source(folder) for folder in folders],
            "tokenizer": _copy_tokenizer(folders, sink.root),
            "input_files": {path: asdict(digest) for path, digest in digests.items()},
            **tally.as_json(),
            "packing": sum(fills.values(), Fill(options.length)).as_json(),
            "splits": {name: fill.as_json() for name, fill in fills.items()},
            "files": sink.side_files(),
            "shards": [shard.as_json() for shard in written],
        }
    )
    sink.commit()


def _source(folder: Path) -> dict[str, Any]:
    """An input folder: which run made it, and from what."""
    data = (folder / "manifest.json").read_bytes()
    manifest = json.loads(data)
    return {
        "folder": folder.name,
        "manifest_sha256": file_sha256(folder / "manifest.json"),
        **{key: manifest[key] for key in ("recipe", "input_files") if key in manifest},
    }


def _copy_tokenizer(folders: Iterable[Path], output: Path) -> dict[str, Any] | None:
    """The tokenizer of the inputs, which is one and the same; None where no input has one beside it."""
    source = next((folder / "tokenizer" for folder in folders if (folder / "tokenizer").is_dir()), None)
    if source is None:
        return None
    target = output / "tokenizer"
    target.mkdir()
    for path in sorted(source.iterdir()):
        copy_atomic(path, target / path.name)
    files = {path.name: file_sha256(path) for path in sorted(target.iterdir())}
    return {"sha256": files.get("tokenizer.json"), "files": files}


def _card(fills: Mapping[str, Fill]) -> str:
    """The dataset card; its ``configs`` make ``load_dataset(OUT)`` work whatever else lies in the folder."""
    files = "".join(f"  - split: {name}\n    path: data/{name}-*.parquet\n" for name in fills)
    rows = "".join(
        f"| {name} | {fill.packs:,} | {fill.sequences:,} | {fill.tokens:,} | {fill.trained_tokens:,} "
        f"| {fill.rate:.2%} | {fill.overlong:,} |\n"
        for name, fill in fills.items()
    )
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        "# Packed training shards\n\nWritten by ifttool. Each row holds whole samples one after the other; "
        "`manifest.json` says from what and how, `provenance/` which input rows each pack holds.\n\n"
        "| split | packs | samples | tokens | trained tokens | fill | left out as over-long |\n"
        f"|---|---|---|---|---|---|---|\n{rows}"
    )
