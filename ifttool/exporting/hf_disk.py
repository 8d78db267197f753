"""What ``datasets.load_from_disk`` reads: LLaMA-Factory (``tokenized_path``), ms-swift (``--cached_dataset``)."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ifttool.exporting.shard_set import Rows, ShardSet, SourceShard, read_shard
from ifttool.exporting.summary import SplitFigures

_LISTS = {"input_ids": pa.int32(), "attention_mask": pa.int8(), "labels": pa.int32()}


def write_hf_disk(shards: ShardSet, out: Path, *, lengths: bool = False) -> dict[str, SplitFigures]:
    """Write a ``DatasetDict`` with one Arrow stream file for each shard.

    Args:
        shards: What to export.
        out: An empty folder.
        lengths: Add ``length`` (int) and ``lengths`` (a list of it), which ms-swift wants. LLaMA-Factory takes the
            three other columns only.

    Returns:
        What was written, by split.
    """
    shards.require_targets()
    schema = _schema(lengths=lengths)
    figures = {split: _write_split(out / split, split, files, schema) for split, files in shards.splits.items()}
    _write_json(out / "dataset_dict.json", {"splits": list(figures)})
    return figures


def _write_split(folder: Path, split: str, files: Sequence[SourceShard], schema: pa.Schema) -> SplitFigures:
    folder.mkdir()
    figures = SplitFigures()
    names = [f"data-{number:05d}-of-{len(files):05d}.arrow" for number in range(len(files))]
    for name, shard in zip(names, files, strict=True):
        # Uncompressed: datasets maps the file into memory.
        with (folder / name).open("wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for rows in read_shard(shard):
                writer.write(_batch(rows, schema))
                figures.count(rows.ids, rows.mask, len(rows))
    contents = "".join(shard.content_sha256 for shard in files) + str(schema)
    _write_json(folder / "dataset_info.json", {"features": {field.name: _feature(field.type) for field in schema}})
    _write_json(
        folder / "state.json",
        {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": hashlib.sha256(contents.encode()).hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        },
    )
    return figures


def _schema(*, lengths: bool) -> pa.Schema:
    fields = [pa.field(name, pa.list_(kind)) for name, kind in _LISTS.items()]
    if lengths:
        fields += [pa.field("length", pa.int32()), pa.field("lengths", pa.list_(pa.int32()))]
    return pa.schema(fields)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A column type as ``datasets`` before 4 spells it: later versions read that too, but not the other way round."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": str(kind), "_type": "Value"}


def _batch(rows: Rows, schema: pa.Schema) -> pa.RecordBatch:
    starts = pa.array(rows.starts.astype(np.int32))
    flat = {"input_ids": rows.ids, "attention_mask": np.ones(len(rows.ids), np.int8), "labels": rows.labels}
    columns = {name: pa.ListArray.from_arrays(starts, pa.array(values)) for name, values in flat.items()}
    counts = np.diff(rows.starts).astype(np.int32)
    columns["length"] = pa.array(counts)
    columns["lengths"] = pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1, dtype=np.int32)), pa.array(counts))
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
