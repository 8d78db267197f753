"""Trainers that read our packed shards: whole packs cost in step 1 what their conversations cost one at a time."""

from pathlib import Path
from typing import Any

import pytest
from transformers import DataCollatorWithFlattening, default_data_collator

import ifttool
from conformance.conftest import PACK
from conformance.runs import load_shards, trainer_loss, trl_loss
from conformance.tiny_llama import APART, TOLERANCE, mean_loss
from helpers import read_shards

Rows = list[dict[str, Any]]
PADDING_FREE = {"padding_free": True, "max_length": None}


@pytest.fixture(scope="module")
def wanted(rows: Rows) -> float:
    """The reference, computed from the shards before they were packed."""
    return mean_loss(rows)


@pytest.fixture(scope="module")
def packs(packed: Path) -> int:
    """How many packs there are: enough to matter, each of several conversations."""
    lengths = [row["seq_lengths"] for row in read_shards(packed)]
    assert len(lengths) > 10
    assert sum(len(row) for row in lengths) > 2 * len(lengths)
    return len(lengths)


def repacked(out: Path, folder: Path, layout: str) -> Path:
    """The shards in packs of a layout."""
    ifttool.pack(out, folder, length=PACK, layout=layout)
    return folder


@pytest.mark.parametrize("layout", ["default", "trl", "unsloth"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"dataset_kwargs": {"skip_prepare_dataset": True}}, id="as-it-is"),
        pytest.param({}, id="prepared-by-trl"),
    ],
)
def test_trl(out: Path, packs: int, wanted: float, tmp_path: Path, *, layout: str, options: dict[str, Any]) -> None:
    dataset = load_shards(repacked(out, tmp_path / "out", layout), tmp_path / "cache")
    loss = trl_loss(dataset, tmp_path, batch=packs, **PADDING_FREE, **options)
    assert loss == pytest.approx(wanted, abs=TOLERANCE)


def test_trl_streaming(packed: Path, packs: int, wanted: float, tmp_path: Path) -> None:
    dataset = load_shards(packed, tmp_path / "cache", streaming=True)
    assert trl_loss(dataset, tmp_path, batch=packs, **PADDING_FREE) == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("layout", ["default", "transformers"])
def test_transformers(out: Path, packs: int, wanted: float, tmp_path: Path, layout: str) -> None:
    dataset = load_shards(repacked(out, tmp_path / "out", layout), tmp_path / "cache")
    loss = trainer_loss(dataset, tmp_path, collator=default_data_collator, batch=1, accumulate=packs)
    assert loss == pytest.approx(wanted, abs=TOLERANCE)


class TestNegativeControls:
    """Ways in which conversations of a pack see each other. Each must differ, or the tests above could not fail."""

    def test_trl_without_padding_free(self, packed: Path, packs: int, wanted: float, tmp_path: Path) -> None:
        dataset = load_shards(packed, tmp_path / "cache")
        loss = trl_loss(dataset, tmp_path, batch=packs, max_length=None)
        assert abs(loss - wanted) > APART

    def test_flattening_of_packs(self, packed: Path, packs: int, wanted: float, tmp_path: Path) -> None:
        dataset = load_shards(packed, tmp_path / "cache")
        loss = trainer_loss(dataset, tmp_path, collator=DataCollatorWithFlattening(), batch=packs)
        assert abs(loss - wanted) > APART

    def test_attention_mask_of_ones(self, packed: Path, packs: int, wanted: float, tmp_path: Path) -> None:
        dataset = load_shards(packed, tmp_path / "cache")
        dataset = dataset.map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})
        loss = trainer_loss(dataset, tmp_path, collator=default_data_collator, batch=1, accumulate=packs)
        assert abs(loss - wanted) > APART
