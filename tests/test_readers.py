"""Another reader sees in the shards what ifttool wrote, row by row. More of them: conformance/test_folder_readers.py."""

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
