"""Columns of shards: chosen by name or by trainer, and said in schema and manifest."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import ifttool
from helpers import SAMPLES, RunCli, read_manifest, read_shards
from ifttool.errors import UsageError
from ifttool.layouts import COLUMNS, LAYOUTS, choose_columns

CHAT = SAMPLES / "chat.jsonl"


@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        ("trl", ["input_ids", "labels"]),
        ("transformers", ["input_ids", "attention_mask", "labels"]),
        ("axolotl", ["input_ids", "attention_mask", "labels"]),
        ("unsloth", ["input_ids", "attention_mask", "labels"]),
    ],
)
def test_layout_writes_exactly_its_columns(tmp_path: Path, layout: str, columns: list[str]) -> None:
    out = tmp_path / "out"
    ifttool.mask(CHAT, out, layout=layout)
    schema = pq.read_schema(next((out / "data").iterdir()))
    assert schema.names == columns
    assert json.loads(schema.metadata[b"ifttool"])["layout"] == layout
    options = read_manifest(out)["options"]
    assert (options["columns"], options["layout"]) == (columns, layout)


def test_layouts_hold_the_same_samples(tmp_path: Path) -> None:
    ifttool.mask(CHAT, tmp_path / "all")
    full = read_shards(tmp_path / "all")
    for layout, columns in LAYOUTS.items():
        ifttool.mask(CHAT, tmp_path / layout, layout=layout)
        assert read_shards(tmp_path / layout) == [{name: row[name] for name in columns} for row in full]


@pytest.mark.parametrize("name", ["mask", "tokenize", "unroll"])
def test_every_command_takes_them(cli: RunCli, tmp_path: Path, name: str) -> None:
    assert cli(name, CHAT, "-o", tmp_path / "a", "--columns", "labels,input_ids", "-q").code == 0
    assert list(read_shards(tmp_path / "a")[0]) == ["labels", "input_ids"]
    assert cli(name, CHAT, "-o", tmp_path / "b", "--layout", "trl", "-q").code == 0
    assert list(read_shards(tmp_path / "b")[0]) == ["input_ids", "labels"]
    assert read_manifest(tmp_path / "a")["options"]["layout"] is None


def test_one_file_has_them_too(tmp_path: Path) -> None:
    ifttool.mask(CHAT, tmp_path / "x.parquet", layout="axolotl")
    assert pq.read_schema(tmp_path / "x.parquet").names == ["input_ids", "attention_mask", "labels"]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"columns": "input_id,labels"}, "there is no column 'input_id'", "did you mean input_ids?"),
        ({"columns": ["input_ids", "lables"]}, "there is no column 'lables'", "did you mean labels?"),
        ({"layout": "axolot"}, "there is no layout 'axolot'", "did you mean axolotl?"),
        ({"layout": "trl", "columns": "input_ids,labels"}, "--layout and --columns exclude", "a choice of columns"),
        (
            {"layout": "megatron-bridge"},
            "megatron-bridge reads packed rows only",
            "ifttool pack --layout megatron-bridge",
        ),
        ({"columns": "loss_mask,labels"}, "--columns leaves input_ids out", ""),
        ({"columns": "input_ids,labels,labels"}, "--columns names labels twice", ""),
        ({"columns": "input_ids"}, "neither loss_mask nor labels", "tokenize --no-loss"),
        ({"columns": ""}, "there is no column ''", "one of input_ids,"),
    ],
)
def test_refused_at_the_door(tmp_path: Path, options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ifttool.mask(CHAT, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_without_loss_there_are_no_targets(tmp_path: Path) -> None:
    ifttool.tokenize(CHAT, tmp_path / "out", no_loss=True)
    assert list(read_shards(tmp_path / "out")[0]) == ["input_ids", "attention_mask"]
    assert choose_columns(columns="input_ids", bears_loss=False) == ("input_ids",)
    for options in ({"layout": "trl"}, {"columns": "input_ids,labels"}):
        with pytest.raises(UsageError, match="--no-loss writes none"):
            ifttool.tokenize(CHAT, tmp_path / "other", no_loss=True, **options)  # type: ignore[arg-type]


def test_streams_have_no_columns(cli: RunCli) -> None:
    result = cli("unroll", CHAT, "--layout", "trl")
    assert result.code == 2
    assert "--layout is for shards only" in result.err


def test_tables_name_real_columns() -> None:
    assert all(set(columns) <= set(COLUMNS) for columns in LAYOUTS.values())
    assert choose_columns() == COLUMNS
