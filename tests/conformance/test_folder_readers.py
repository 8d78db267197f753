"""Tools that read folders of Parquet see in ours what pyarrow sees, row by row."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

import ifttool
from conformance.runs import load_shards

Rows = list[dict[str, Any]]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets(out: Path, rows: Rows, tmp_path: Path, streaming: bool) -> None:
    assert list(load_shards(out, tmp_path, streaming=streaming)) == rows


def test_datasets_of_arrow_shards(chats: list[Path], rows: Rows, tmp_path: Path) -> None:
    assert ifttool.mask(chats, tmp_path / "out", workers=1, format="arrow").committed
    assert list(load_shards(tmp_path / "out", tmp_path / "cache")) == rows


def test_polars(out: Path, rows: Rows) -> None:
    assert pl.scan_parquet(out / "data").collect().to_dicts() == rows


def test_duckdb(out: Path, rows: Rows) -> None:
    names = list(rows[0])
    found = duckdb.sql(f"SELECT {', '.join(names)} FROM '{out}/data/*.parquet'").fetchall()
    assert [dict(zip(names, row, strict=True)) for row in found] == rows


def test_duckdb_counts_trained_tokens(out: Path, rows: Rows) -> None:
    query = f"SELECT sum(len(input_ids)), sum(list_sum(loss_mask)) FROM '{out}/data/*.parquet'"
    tokens, trained = sum(len(row["input_ids"]) for row in rows), sum(sum(row["loss_mask"]) for row in rows)
    assert duckdb.sql(query).fetchall() == [(tokens, trained)]


def test_ray_data(out: Path, rows: Rows) -> None:
    import ray  # noqa: PLC0415 - reads the environment and starts threads
    from ray.data.collate_fn import NumpyBatchCollateFn  # noqa: PLC0415

    class Padded(NumpyBatchCollateFn):
        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
            pads = {"input_ids": 0, "labels": -100}
            return {
                name: pad_sequence([torch.tensor(row) for row in batch[name]], batch_first=True, padding_value=pad)
                for name, pad in pads.items()
            }

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    try:
        dataset = ray.data.read_parquet(str(out / "data"))
        found = [{name: list(map(int, values)) for name, values in row.items()} for row in dataset.take_all()]
        batches = list(dataset.iter_torch_batches(batch_size=8, collate_fn=Padded()))
    finally:
        ray.shutdown()
    assert sorted(found, key=repr) == sorted(rows, key=repr)
    assert sum(len(batch["input_ids"]) for batch in batches) == len(rows)
    trained = [int(label) for batch in batches for label in batch["labels"][batch["labels"] != -100]]
    assert sorted(trained) == sorted(label for row in rows for label in row["labels"] if label != -100)
