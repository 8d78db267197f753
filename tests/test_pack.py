"""`ifttool pack`: what is in packed shards, token for token, and what is refused."""

import json
import re
import shutil
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ifttool
from helpers import (
    ROOT,
    SAMPLES,
    RunCli,
    content_digests,
    read_manifest,
    read_provenance,
    read_shards,
    trained_texts,
)
from ifttool.errors import InputChanged, RowError, UsageError
from ifttool.packing import spill, split_packer
from ifttool.packing.schema import LAYOUTS

Row = tuple[list[int], list[int]]
"""Ids and mask of a sample."""


def write_shard(path: Path, rows: Sequence[Row], *, kind: Any = pa.list_, **columns: Any) -> Path:
    """A shard such as any tool may have written it; ``columns`` replace or add to ids and mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "input_ids": pa.array([ids for ids, _ in rows], kind(pa.int32())),
        "loss_mask": pa.array([mask for _, mask in rows], kind(pa.int8())),
        **columns,
    }
    pq.write_table(
        pa.table({name: column for name, column in table.items() if column is not None}),
        path,
        row_group_size=3,
        write_page_checksum=True,
    )
    return path


def numbered_rows(lengths: Sequence[int]) -> list[Row]:
    """Rows whose ids are all different, every third token trained but never the first."""
    starts = np.cumsum([0, *lengths])
    return [
        (list(range(start, stop)), [int(index > 0 and (start + index) % 3 == 0) for index in range(stop - start)])
        for start, stop in pairwise(starts.tolist())
    ]


def sequences_of(row: dict[str, Any]) -> list[tuple[int, int]]:
    """Bounds of the sequences of a packed row of any layout."""
    if "seq_lengths" in row:
        bounds = np.cumsum([0, *row["seq_lengths"]]).tolist()
    elif "seq_start_id" in row:
        bounds = [*row["seq_start_id"], len(row["input_ids"])]
    else:
        bounds = [*(index for index, at in enumerate(row["position_ids"]) if at == 0), len(row["input_ids"])]
    return list(pairwise(bounds))


@pytest.fixture(scope="module")
def masked_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once") / "masked"
    ifttool.mask([SAMPLES / "chat.jsonl", SAMPLES / "multi_turn.jsonl"], folder, template="chatml", workers=1)
    return folder


@pytest.fixture
def masked(masked_once: Path, tmp_path: Path) -> Path:
    """An output folder of `mask`."""
    return shutil.copytree(masked_once, tmp_path / "masked")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.lists(st.integers(1, 24), max_size=30), min_size=1, max_size=3),
    length=st.integers(24, 60),
    window=st.one_of(st.none(), st.integers(1, 20)),
    seed=st.integers(0, 3),
    shards=st.integers(1, 4),
)
def test_every_token_is_there_once_as_it_was(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[list[int]],
    length: int,
    window: int | None,
    seed: int,
    shards: int,
) -> None:
    monkeypatch.setattr(spill, "BUFFERED_TOKENS", 50)  # everything goes through files, in many small buckets
    monkeypatch.setattr(split_packer, "ROW_GROUP_TOKENS", 100)
    root = tmp_path_factory.mktemp("pack")
    rows = {f"in-{index}.parquet": numbered_rows(part) for index, part in enumerate(lengths)}
    paths = [write_shard(root / name, part) for name, part in rows.items()]
    summary = ifttool.pack(paths, root / "out", length=length, window=window, seed=seed, shards=shards)

    found = []
    for row, origin in zip(read_shards(root / "out"), read_provenance(root / "out"), strict=True):
        assert list(row) == ["input_ids", "loss_mask", "labels", "position_ids", "seq_lengths"]
        assert len(row["input_ids"]) == sum(row["seq_lengths"]) == origin["tokens"] <= length
        assert sum(row["loss_mask"]) == origin["trained_tokens"]
        assert len(row["seq_lengths"]) == origin["sequences"] == len(origin["rows"]) == len(origin["shards"])
        for (start, stop), shard, index in zip(sequences_of(row), origin["shards"], origin["rows"], strict=True):
            ids, mask = rows[Path(shard).name][index]
            assert row["input_ids"][start:stop] == ids
            assert row["loss_mask"][start:stop] == mask
            assert row["labels"][start:stop] == [i if m else -100 for i, m in zip(ids, mask, strict=True)]
            assert row["position_ids"][start:stop] == list(range(len(ids)))
            found.append((Path(shard).name, index))
    assert sorted(found) == [(name, index) for name in rows for index in range(len(rows[name]))]
    sizes = [shard.info.rows for shard in summary.shards]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(1, min(shards, summary.total.packs))
    assert summary.total.padding == summary.total.packs * length - sum(map(sum, lengths))
    assert not list((root / "out").glob(".*"))


@pytest.mark.parametrize("layout", ["default", "trl", "unsloth", "transformers", "megatron-bridge"])
def test_every_layout_trains_the_same_tokens(masked: Path, tmp_path: Path, layout: str) -> None:
    summary = ifttool.pack(masked, tmp_path / "out", length=200, layout=layout)
    targets = sorted(
        (tuple(row["input_ids"][:at]), row["input_ids"][at])
        for row in read_shards(masked)
        for at, is_target in enumerate(row["loss_mask"])
        if is_target
    )
    found = []
    for row in read_shards(tmp_path / "out"):
        for start, stop in sequences_of(row):
            ids = row["input_ids"][start:stop]
            if layout == "megatron-bridge":  # as its collator does
                inputs, labels, mask = ids[:-1], ids[1:], row["loss_mask"][start : stop - 1]
                assert row["loss_mask"][stop - 1] == 0
                found += [(tuple(inputs[: at + 1]), labels[at]) for at, is_target in enumerate(mask) if is_target]
            else:
                labels = row["labels"][start:stop]
                assert labels[0] == -100
                found += [(tuple(ids[:at]), label) for at, label in enumerate(labels) if label != -100]
    assert sorted(found) == targets
    assert summary.total.trained_tokens == len(targets)
    assert "attention_mask" not in row


def test_types_and_metadata(masked: Path, tmp_path: Path) -> None:
    ifttool.pack(masked, tmp_path / "out", length=200, layout="megatron-bridge", seed=5)
    schema = pq.read_schema(next((tmp_path / "out" / "data").iterdir()))
    element = {"input_ids": pa.int32(), "loss_mask": pa.int8(), "seq_start_id": pa.int32()}
    assert {field.name: field.type.value_type for field in schema} == element
    assert schema.field("loss_mask").metadata == {b"shift": b"-1"}
    said = json.loads(schema.metadata[b"ifttool"])
    before = json.loads(pq.read_schema(next((masked / "data").iterdir())).metadata[b"ifttool"])
    assert said["format"] == "ifttool.packed/1"
    assert said["packing"] == {
        "algorithm": "best-fit-decreasing",
        "layout": "megatron-bridge",
        "length": 200,
        "overlong": "drop",
        "seed": 5,
        "shards": None,
        "window": None,
    }
    assert {key: said[key] for key in ("tokenizer_sha256", "eos_id", "train_on")} == {
        key: before[key] for key in ("tokenizer_sha256", "eos_id", "train_on")
    }
    ifttool.pack(masked, tmp_path / "default", length=200)
    assert pq.read_schema(next((tmp_path / "default" / "data").iterdir())).field("loss_mask").metadata is None


def test_megatron_bridge_counts_as_its_collator_does(tmp_path: Path) -> None:
    # Each sequence gives up one token: 5 + 5 fill 8 exactly, and a row of 9 fits a pack of 8.
    write_shard(tmp_path / "in.parquet", numbered_rows([5, 5, 9, 10, 1]))
    summary = ifttool.pack(tmp_path / "in.parquet", tmp_path / "out", length=8, layout="megatron-bridge")
    assert sorted(len(row["input_ids"]) for row in read_shards(tmp_path / "out")) == [9, 10]
    total = summary.total
    assert (total.packs, total.rate, total.padding, total.overlong, total.empty) == (2, 1.0, 0, 1, 1)


def test_first_tokens_never_bear_loss(tmp_path: Path) -> None:
    # `tokenize` trains every token; the first of a sample would be predicted from the sample before it.
    write_shard(tmp_path / "in.parquet", [([7, 8, 9], [1, 1, 1]), ([5, 6], [1, 1])])
    for layout in ("default", "megatron-bridge"):
        summary = ifttool.pack(tmp_path / "in.parquet", tmp_path / "out", length=9, layout=layout, force=True)
        assert summary.total.first_tokens_masked == 2
        assert summary.total.trained_tokens == 3
    (row,) = read_shards(tmp_path / "out")
    assert row == {"input_ids": [7, 8, 9, 5, 6], "loss_mask": [1, 1, 0, 1, 0], "seq_start_id": [0, 3]}


def test_overlong_rows_are_listed(tmp_path: Path, cli: RunCli) -> None:
    path = write_shard(tmp_path / "in.parquet", [*numbered_rows([3, 12, 4]), ([], []), *numbered_rows([13])])
    done = cli("pack", path, "-o", tmp_path / "out", "--length", 10, "--json")
    assert done.code == 0
    figures = json.loads(done.out)
    assert figures["inputs"] == {
        str(path): {"lines": 5, "blanks": 0, "kept": 2, "rejected": {}, "dropped": {"IFT401": 1, "IFT402": 2}}
    }
    assert figures["packing"] == {
        "packs": 1,
        "sequences": 2,
        "tokens": 7,
        "trained_tokens": 1,
        "fill": 0.7,
        "padding": 3,
        "overlong": 2,
        "empty": 1,
        "first_tokens_masked": 0,
    }
    assert "5 lines = 2 kept + 1 dropped (IFT401 nothing to train on) + 2 dropped (IFT402 longer than" in done.err
    assert "train: 2 samples in 1 pack of 10, 70.00% full (3 tokens of padding)" in done.err
    records = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(record["line"], record["code"], record["kind"]) for record in records] == [
        (2, "IFT402", "dropped"),
        (4, "IFT401", "dropped"),
        (5, "IFT402", "dropped"),
    ]
    assert figures["rejects"] == str(tmp_path / "out" / "rejects.jsonl")


def test_overlong_rows_can_be_an_error(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "in.parquet", numbered_rows([3, 12, 13]))
    with pytest.raises(RowError, match=r"in\.parquet:2: 12 tokens, where a pack holds 10 \(of 2 such rows\)"):
        ifttool.pack(path, tmp_path / "out", length=10, overlong="error")
    assert not (tmp_path / "out").exists()
    assert ifttool.pack(path, tmp_path / "out", length=13, overlong="error").total.overlong == 0


def test_splits_are_packed_apart(masked: Path, tmp_path: Path) -> None:
    rows = numbered_rows([4] * 9)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        write_shard(tmp_path / f"{name}.parquet", rows)
    summary = ifttool.pack(str(tmp_path / "*.parquet"), tmp_path / "out", length=8, shards=2)
    assert {name: fill.packs for name, fill in summary.splits.items()} == {"train": 9, "validation": 5}
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "validation-00000-of-00002.parquet",
        "validation-00001-of-00002.parquet",
    ]
    for origin in read_provenance(tmp_path / "out")[:9]:
        assert all("train-" in shard for shard in origin["shards"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "  - split: train\n    path: data/train-*.parquet\n  - split: validation\n" in card


def test_folder_has_the_form_of_other_outputs(masked: Path, tmp_path: Path, cli: RunCli) -> None:
    summary = ifttool.pack(masked, tmp_path / "out", length=200)
    names = ["README.md", "data", "manifest.json", "provenance", "tokenizer"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for path in (masked / "tokenizer").iterdir():
        assert (tmp_path / "out" / "tokenizer" / path.name).read_bytes() == path.read_bytes()
    manifest, before = read_manifest(tmp_path / "out"), read_manifest(masked)
    assert manifest["format"] == "ifttool.packed/1"
    assert manifest["sources"][0]["recipe"] == before["recipe"]
    assert manifest["trained_tokens"] == before["trained_tokens"] == summary.total.trained_tokens
    assert manifest["tokens"] == before["tokens"]
    assert [digest["sha256"] for digest in manifest["input_files"].values()] == [
        shard["sha256"] for shard in before["shards"]
    ]
    assert manifest["packing"] == summary.total.as_json()
    # The other commands read it.
    assert ifttool.stats(tmp_path / "out").samples == summary.total.packs
    shown = cli("show", tmp_path / "out")
    assert shown.code == 0
    assert "<|im_start|>assistant" in shown.out


def test_show_marks_the_same_tokens_in_every_layout(masked: Path, tmp_path: Path, cli: RunCli) -> None:
    texts = []
    for layout in ("default", "megatron-bridge"):
        # One sample a pack, so that both layouts make the same packs.
        ifttool.pack(masked, tmp_path / layout, length=100_000, window=1, layout=layout)
        texts.append(cli("show", tmp_path / layout, "--json").out.replace(layout, ""))
    assert texts[0] == texts[1] != ""


def test_packs_do_not_depend_on_workers(tmp_path: Path) -> None:
    digests = []
    for workers in (1, 2):
        folder = tmp_path / f"masked-{workers}"
        ifttool.mask(SAMPLES / "chat.jsonl", folder, template="chatml", workers=workers)
        ifttool.pack(folder, tmp_path / f"packed-{workers}", length=150, seed=3)
        digests.append(content_digests(tmp_path / f"packed-{workers}"))
    assert digests[0] == digests[1]


def test_trained_text_is_that_of_the_samples(masked: Path, tmp_path: Path) -> None:
    ifttool.pack(masked, tmp_path / "out", length=150)
    before = sorted(text for row in read_shards(masked) for text in trained_texts(row))
    assert sorted(text for row in read_shards(tmp_path / "out") for text in trained_texts(row)) == before


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_foreign_shards_with_labels_only(tmp_path: Path, kind: Any) -> None:
    labels = pa.array([[-100, 2, 3], [-100, 5]], kind(pa.int64()))
    rows = [([1, 2, 3], []), ([4, 5], [])]
    path = write_shard(tmp_path / "in.parquet", rows, kind=kind, labels=labels, loss_mask=None)
    ifttool.pack(path, tmp_path / "out", length=5)
    (row,) = read_shards(tmp_path / "out")
    assert row["labels"] == [-100, 2, 3, -100, 5]
    assert not (tmp_path / "out" / "tokenizer").exists()


def test_arrow_shards(tmp_path: Path) -> None:
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "arrow", template="chatml", workers=1, format="arrow")
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "parquet", template="chatml", workers=1)
    for kind in ("arrow", "parquet"):
        ifttool.pack(tmp_path / kind, tmp_path / f"packed-{kind}", length=150)
    assert content_digests(tmp_path / "packed-arrow") == content_digests(tmp_path / "packed-parquet")


def column(*rows: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(rows, pa.list_(kind or pa.int32()))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"loss_mask": None}, "doesn't say which tokens bear loss"),
        ({"seq_lengths": column([3])}, "is packed already"),
        ({"seq_start_id": column([0])}, "is packed already"),
        ({"position_ids": column([0, 1, 0])}, "is packed already"),
        ({"loss_mask": column([0, 2, 1])}, "loss_mask holds values other than 0 and 1"),
        ({"loss_mask": column([0, 0.5, 1], kind=pa.float32())}, "loss_mask holds values other than 0 and 1"),
        ({"loss_mask": column([0, None, 1])}, "there are nulls among the tokens"),
        ({"loss_mask": None, "labels": column([2, 3, -100])}, "labels aren't the ids of their own tokens"),
        ({"input_ids": column([1, -2, 3])}, "input_ids hold -2, which isn't a token id"),
    ],
)
def test_shards_that_cannot_be_packed(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write_shard(tmp_path / "in.parquet", [([1, 2, 3], [0, 1, 1])], **columns)
    with pytest.raises(UsageError, match=message):
        ifttool.pack(path, tmp_path / "out", length=10)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list(tmp_path.glob("out/data"))


def test_packed_folders_are_refused(masked: Path, tmp_path: Path) -> None:
    for layout in ("default", "trl", "transformers", "megatron-bridge"):
        ifttool.pack(masked, tmp_path / "out", length=200, layout=layout, force=True)
        with pytest.raises(UsageError, match="is packed already"):
            ifttool.pack(tmp_path / "out", tmp_path / "again", length=200)


def test_places_that_cannot_be_used(masked: Path, tmp_path: Path) -> None:
    ifttool.tokenize(SAMPLES / "chat.jsonl", tmp_path / "no-loss", template="chatml", workers=1, no_loss=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("x")
    for inputs, output, message in [
        (tmp_path / "no-loss", "out", "doesn't say which tokens bear loss"),
        (SAMPLES / "chat.jsonl", "out", "doesn't hold finished samples"),
        (tmp_path / "taken", "out", "isn't an output folder"),
        (tmp_path / "nothing", "out", "nothing"),
        (masked, "masked", "holds the input"),
        (masked, "masked/packed", r"masked/packed lies in .*masked, which is packed"),
        (masked / "data" / "*.parquet", "masked/data/packed", "which is packed"),
        (masked, "taken", "isn't empty"),
        (masked, "out.parquet", "is a file's name"),
        ([masked, masked], "out", "is the same input"),
    ]:
        with pytest.raises(UsageError, match=message):
            ifttool.pack(inputs, tmp_path / output, length=200, force=output == "masked")
    assert read_manifest(masked)["format"] == "ifttool.examples/1"


@pytest.mark.parametrize(
    "options",
    [
        {"length": 0},
        {"length": 1 << 64},
        {"window": 0},
        {"seed": -1},
        {"shards": 0},
        {"layout": "axolotl"},
        {"overlong": "truncate"},
    ],
)
def test_options_that_cannot_be_used(masked: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(options))} can't be"):
        ifttool.pack(masked, tmp_path / "out", **{"length": 200, **options})


def test_tokenizers_must_agree(masked: Path, tmp_path: Path) -> None:
    other = write_shard(tmp_path / "other.parquet", numbered_rows([3]))
    with pytest.raises(UsageError, match="were made with different tokenizers"):
        ifttool.pack([masked, other], tmp_path / "out", length=200)


def test_damage_leaves_nothing_behind(masked: Path, tmp_path: Path) -> None:
    shard = next((masked / "data").iterdir())
    data = bytearray(shard.read_bytes())
    meta = pq.read_metadata(shard).row_group(0).column(0)
    end = meta.dictionary_page_offset + meta.total_compressed_size
    data[(meta.data_page_offset + end) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputChanged, match="is damaged"):
        ifttool.pack(masked, tmp_path / "out", length=200)
    assert not (tmp_path / "out").exists()
    ifttool.mask(SAMPLES / "chat.jsonl", masked, template="chatml", workers=1, force=True)
    ifttool.pack(masked, tmp_path / "out", length=200)


def test_an_input_that_changes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_shard(tmp_path / "in.parquet", numbered_rows([5, 6, 7]))
    plan = split_packer.plan_packs

    def change(*args: Any, **kwargs: Any) -> Any:
        write_shard(path, numbered_rows([5, 7, 6]))
        return plan(*args, **kwargs)

    monkeypatch.setattr(split_packer, "plan_packs", change)
    with pytest.raises(InputChanged, match="changed while it was packed"):
        ifttool.pack(path, tmp_path / "out", length=20)
    assert not (tmp_path / "out").exists()


def test_force_and_repeat(masked: Path, tmp_path: Path) -> None:
    files = []
    for _ in range(2):
        ifttool.pack(masked, tmp_path / "out", length=200, force=True)
        files.append({path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()})
    assert files[0] == files[1]
    with pytest.raises(UsageError, match="isn't empty"):
        ifttool.pack(masked, tmp_path / "out", length=200)


def test_nothing_to_pack_gives_an_empty_shard(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "in.parquet", numbered_rows([9]))
    summary = ifttool.pack(path, tmp_path / "out", length=5)
    assert (summary.total.packs, summary.total.rate, summary.total.overlong) == (0, 0.0, 1)
    table = pq.read_table(next((tmp_path / "out" / "data").iterdir()))
    assert (table.num_rows, table.column_names[0]) == (0, "input_ids")


def test_memory_does_not_grow_with_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BUFFERED_TOKENS", 100_000)
    monkeypatch.setattr(split_packer, "ROW_GROUP_TOKENS", 10_000)
    peaks = []
    for count in (4, 16):
        rng = np.random.default_rng(0)
        folder = tmp_path / str(count)
        for index in range(count):
            ids = rng.integers(0, 1000, 300_000, dtype=np.int32)
            offsets = pa.array(np.arange(0, 300_001, 500, dtype=np.int32))
            folder.mkdir(exist_ok=True)
            columns = {
                "input_ids": pa.ListArray.from_arrays(offsets, pa.array(ids)),
                "loss_mask": pa.ListArray.from_arrays(offsets, pa.array((ids % 2).astype(np.int8))),
            }
            pq.write_table(pa.table(columns), folder / f"in-{index}.parquet", row_group_size=200)
        tracemalloc.start()
        ifttool.pack(str(folder / "*.parquet"), tmp_path / f"out-{count}", length=2000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        shutil.rmtree(folder)
    # 3.6 million tokens more are 14 MB of ids alone; a row costs some 60 bytes, and there are 7,200 more. What the thread
    # that writes still holds at the peak, up to a megabyte, differs from run to run.
    assert peaks[1] - peaks[0] < 2_000_000


def test_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: RunCli) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "packing.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").symlink_to(SAMPLES)
    (shell,) = [text for kind, text in blocks if kind == "sh"]
    for line in shell.splitlines():
        assert cli(*line.split()[1:]).code == 0
    duckdb = pytest.importorskip("duckdb")
    (query,) = [text for kind, text in blocks if kind == "sql"]
    found = duckdb.sql(query).fetchall()
    assert sorted(found) == sorted((row["source"], row["line"], row["id"]) for row in read_provenance(Path("masked")))


def test_layouts_of_the_page() -> None:
    page = (ROOT / "docs" / "packing.md").read_text()
    for name, layout in LAYOUTS.items():
        (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
        columns = ", ".join(f"`{column}`" for column in layout.columns)
        assert row.split("|")[2].strip() in (columns, "all of the above")
