"""Trainers that read our plain shards: what they lose in step 1 is what the reference loses, to 1e-4."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    default_data_collator,
)

import ifttool
from conformance.runs import load_shards, trainer_loss, trl_loss
from conformance.tiny_llama import APART, TOLERANCE, hub_tokenizer, mean_loss, tiny_llama
from ifttool.adapters import automodel_sample, torchtune_sample

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def wanted(rows: Rows) -> float:
    """The reference: over trained tokens, one conversation at a time."""
    return mean_loss(rows)


def test_the_loss_tells_masks_apart(rows: Rows, wanted: float) -> None:
    shifted = [{**row, "loss_mask": [*row["loss_mask"][1:], 0]} for row in rows]
    assert abs(mean_loss(rows, every_token=True) - wanted) > APART
    assert abs(mean_loss(shifted) - wanted) > APART
    assert sum(len(row["input_ids"]) for row in rows) > 2000


@pytest.mark.parametrize(
    ("streaming", "options"),
    [
        pytest.param(False, {"max_length": None}, id="plain"),
        pytest.param(True, {"max_length": None}, id="streaming"),
        pytest.param(False, {"max_length": None, "padding_free": True}, id="padding-free"),
        pytest.param(False, {"max_length": 512, "packing": True}, id="packed-by-trl"),
    ],
)
def test_trl(out: Path, rows: Rows, wanted: float, tmp_path: Path, *, streaming: bool, options: dict[str, Any]) -> None:
    dataset = load_shards(out, tmp_path / "cache", streaming=streaming)
    assert trl_loss(dataset, tmp_path, batch=len(rows), **options) == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("name", ["seq2seq", "flattening", "default"])
def test_transformers(out: Path, rows: Rows, wanted: float, tmp_path: Path, name: str) -> None:
    collators: dict[str, Any] = {
        "seq2seq": DataCollatorForSeq2Seq(hub_tokenizer()),
        "flattening": DataCollatorWithFlattening(),
        "default": default_data_collator,
    }
    # The default collator doesn't pad: one row a batch, and all batches in one step.
    batch, accumulate = (1, len(rows)) if name == "default" else (len(rows), 1)
    dataset = load_shards(out, tmp_path / "cache")
    loss = trainer_loss(dataset, tmp_path, collator=collators[name], batch=batch, accumulate=accumulate)
    assert loss == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("layout", ["trl", "unsloth", "transformers", "axolotl"])
def test_layouts(chats: list[Path], rows: Rows, wanted: float, tmp_path: Path, layout: str) -> None:
    assert ifttool.mask(chats, tmp_path / "out", workers=1, layout=layout).committed
    dataset = load_shards(tmp_path / "out", tmp_path / "cache")
    if layout in ("trl", "unsloth"):
        loss = trl_loss(dataset, tmp_path, batch=len(rows), max_length=None)
    else:
        loss = trainer_loss(dataset, tmp_path, collator=DataCollatorForSeq2Seq(hub_tokenizer()), batch=len(rows))
    assert loss == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("adapt", [automodel_sample, partial(torchtune_sample, shifted=True)])
def test_adapters_that_shift_labels(rows: Rows, wanted: float, adapt: Callable[[Any], dict[str, list[int]]]) -> None:
    """NeMo Automodel and torchtune compare the prediction at each place with the label at that place."""
    model = tiny_llama().eval()
    losses: list[float] = []
    for item in map(adapt, rows):
        ids = torch.tensor([item.get("input_ids") or item["tokens"]])
        with torch.no_grad():
            each = cross_entropy(model(input_ids=ids).logits[0], torch.tensor(item["labels"]), reduction="none")
        losses += each[torch.tensor(item["labels"]) != -100].tolist()
    assert sum(losses) / len(losses) == pytest.approx(wanted, abs=TOLERANCE)


class TestNegativeControls:
    """Ways to get it wrong. Each must differ from the reference, or the tests above could not fail."""

    def test_trl_without_labels(self, out: Path, rows: Rows, wanted: float, tmp_path: Path) -> None:
        dataset = load_shards(out, tmp_path / "cache").select_columns(["input_ids"])
        loss = trl_loss(dataset, tmp_path, batch=len(rows), max_length=None)
        assert loss == pytest.approx(mean_loss(rows, every_token=True), abs=TOLERANCE)
        assert abs(loss - wanted) > APART

    def test_collator_that_makes_labels_itself(self, out: Path, rows: Rows, wanted: float, tmp_path: Path) -> None:
        collator = DataCollatorForLanguageModeling(hub_tokenizer(), mlm=False)
        dataset = load_shards(out, tmp_path / "cache").select_columns(["input_ids"])
        loss = trainer_loss(dataset, tmp_path, collator=collator, batch=len(rows))
        assert abs(loss - wanted) > APART

    def test_trl_cuts_at_its_own_default_length(self, out: Path, rows: Rows, wanted: float, tmp_path: Path) -> None:
        longest = max(len(row["input_ids"]) for row in rows)
        dataset = load_shards(out, tmp_path / "cache")
        loss = trl_loss(dataset, tmp_path, batch=len(rows), max_length=longest // 2)
        assert abs(loss - wanted) > APART
