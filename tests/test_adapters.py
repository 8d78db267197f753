"""Adapters: every trainer's convention comes to the same pairs of input token and target."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ifttool
from helpers import SAMPLES, read_shards, run_python
from ifttool import adapters
from ifttool.errors import UsageError
from ifttool.packing.schema import LAYOUTS, packed_schema

IGNORE = -100
Row = dict[str, Any]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Rows as shards hold them: the first token is never a target."""
    ids = draw(st.lists(st.integers(0, 999), min_size=1, max_size=20))
    mask = [0, *draw(st.lists(st.integers(0, 1), min_size=len(ids) - 1, max_size=len(ids) - 1))]
    labels = [token if target else IGNORE for token, target in zip(ids, mask, strict=True)]
    return {"input_ids": ids, "loss_mask": mask, "labels": labels}


def predictions(row: Row) -> list[tuple[int, int]]:
    """Position of each input token with a target, and the target, by the definition of ``loss_mask``."""
    return [(at - 1, token) for at, token in enumerate(row["input_ids"]) if row["loss_mask"][at]]


def shifted_by_dataset(labels: list[int]) -> list[tuple[int, int]]:
    return [(at, label) for at, label in enumerate(labels) if label != IGNORE]


def shifted_by_trainer(labels: list[int]) -> list[tuple[int, int]]:
    return [(at, label) for at, label in enumerate(labels[1:]) if label != IGNORE]


@given(rows())
def test_targets_are_the_same_everywhere(row: Row) -> None:
    expected = predictions(row)
    for some in (row, {**row, "labels": None}, {**row, "loss_mask": None}):
        assert adapters.row_labels(some) == row["labels"]
        assert shifted_by_trainer(adapters.torchtune_sample(some)["labels"]) == expected
        assert shifted_by_dataset(adapters.torchtune_sample(some, shifted=True)["labels"]) == expected
        assert shifted_by_dataset(adapters.automodel_sample(some)["labels"]) == expected


@given(rows())
def test_lengths_fit(row: Row) -> None:
    length = len(row["input_ids"])
    for item in (adapters.torchtune_sample(row), adapters.torchtune_sample(row, shifted=True)):
        assert (item["tokens"], len(item["labels"])) == (row["input_ids"], length)
    item = adapters.automodel_sample(row)
    assert (item["input_ids"], len(item["labels"]), item["attention_mask"]) == (row["input_ids"], length, [1] * length)


def test_rows_without_targets_are_refused() -> None:
    with pytest.raises(UsageError, match="neither labels nor loss_mask"):
        adapters.row_labels({"input_ids": [1, 2]})


def test_rows_whose_targets_are_too_few_are_refused() -> None:
    for name in ("labels", "loss_mask"):
        with pytest.raises(UsageError, match=f"the row has 3 input_ids and 2 {name}"):
            adapters.automodel_sample({"input_ids": [1, 2, 3], name: [0, 1]})


@pytest.mark.parametrize("layout", ["default", "trl", "unsloth", "transformers", "megatron-bridge"])
def test_automodel_refuses_packs(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    names = list(packed_schema(LAYOUTS[layout], {}).names)
    monkeypatch.setattr(adapters, "_load", lambda *_: SimpleNamespace(column_names=names))
    with pytest.raises(UsageError, match="the shards are packed"):
        adapters.automodel_dataset("packed.parquet")


def test_torchtitan(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torchtitan.components.data")
    module.TextSequence = SimpleNamespace  # type: ignore[attr-defined]
    for name in ("torchtitan", "torchtitan.components"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    item = adapters.torchtitan_sequence({"input_ids": [5, 6, 7], "labels": [IGNORE, IGNORE, 7]})
    assert (item.input_ids.tolist(), item.labels.tolist()) == ([5, 6], [IGNORE, 7])


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, ifttool.adapters\n"
        "heavy = {'torch', 'numpy', 'datasets', 'pyarrow', 'torchtitan', 'torchtune', 'litgpt', 'verl'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    run_python(code, cwd=tmp_path)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a sample file."""
    folder = tmp_path_factory.mktemp("adapters") / "out"
    assert ifttool.mask(SAMPLES / "chat.jsonl", folder).committed
    return folder


@pytest.fixture
def data_files(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A glob of shards; ``datasets`` caches into a temporary folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return str(out / "data" / "train-*.parquet")


@pytest.mark.parity
def test_datasets_of_rows(out: Path, data_files: str) -> None:
    expected = read_shards(out)
    torchtune = adapters.torchtune_dataset(object(), data_files=data_files)
    automodel = adapters.automodel_dataset({"train": [data_files]}, tokenizer=object())
    assert (len(torchtune), len(automodel)) == (len(expected), len(expected))
    for index, row in enumerate(expected):
        assert torchtune[index] == {"tokens": row["input_ids"], "labels": row["labels"]}
        assert automodel[index]["labels"] == [*row["labels"][1:], IGNORE]


@pytest.mark.parity
def test_litgpt(out: Path) -> None:
    torch = pytest.importorskip("torch")
    row = read_shards(out)[0]
    item = adapters.litgpt_sample(row)
    length = len(row["input_ids"])
    assert (item["input_ids"].tolist(), item["labels"].tolist()) == (row["input_ids"], row["labels"])
    assert item["input_ids"].dtype == item["labels"].dtype == torch.int64
    assert item["token_counts"] == {"raw": length, "raw_plus_prompt_template": length}


@pytest.mark.parity
def test_verl(out: Path, data_files: str) -> None:
    pytest.importorskip("torch")
    expected = read_shards(out)
    dataset = adapters.VerlDataset([data_files], None, {"pad_mode": "no_padding", "max_length": 4096})
    assert len(dataset) == len(expected)
    for index, row in enumerate(expected):
        item = {name: tensor.tolist() for name, tensor in dataset[index].items()}
        assert item == {
            "input_ids": row["input_ids"],
            "position_ids": list(range(len(row["input_ids"]))),
            "loss_mask": row["loss_mask"],
        }
    assert len(adapters.VerlDataset(data_files, None, {}, None, 3)) == 3
    with pytest.raises(UsageError, match="pad_mode is right"):
        adapters.VerlDataset(data_files, None, {"pad_mode": "right"})
    with pytest.raises(UsageError, match=r"data.max_length is 4"):
        adapters.VerlDataset(data_files, None, {"max_length": 4})[0]
