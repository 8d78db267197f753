"""Other readers see in the shards what ifttool wrote, row by row."""

from pathlib import Path
from typing import Any

import pyarrow.dataset as arrow_dataset
import pytest

import ifttool
from helpers import SAMPLES, read_shards


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a sample file."""
    folder = tmp_path_factory.mktemp("readers") / "out"
    assert ifttool.mask(SAMPLES / "chat.jsonl", folder).committed
    return folder


@pytest.fixture(scope="module")
def rows(out: Path) -> list[dict[str, Any]]:
    """What is in them."""
    rows = read_shards(out)
    assert len(rows) == 11
    return rows


def test_pyarrow_dataset(out: Path, rows: list[dict[str, Any]]) -> None:
    assert arrow_dataset.dataset(out / "data").to_table().to_pylist() == rows


@pytest.mark.parity
@pytest.mark.parametrize("streaming", [False, True])
def test_datasets(out: Path, rows: list[dict[str, Any]], tmp_path: Path, streaming: bool) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(out), split="train", streaming=streaming, cache_dir=str(tmp_path))
    assert list(loaded) == rows


@pytest.mark.parity
def test_datasets_of_arrow_shards(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "out", format="arrow")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == rows


@pytest.mark.parity
def test_polars(out: Path, rows: list[dict[str, Any]]) -> None:
    polars = pytest.importorskip("polars")
    assert polars.scan_parquet(out / "data").collect().to_dicts() == rows


@pytest.mark.parity
def test_duckdb(out: Path, rows: list[dict[str, Any]]) -> None:
    duckdb = pytest.importorskip("duckdb")
    names = list(rows[0])
    found = duckdb.sql(f"SELECT {', '.join(names)} FROM '{out}/data/*.parquet'").fetchall()
    assert [dict(zip(names, row, strict=True)) for row in found] == rows
