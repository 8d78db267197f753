"""Exports: every format read back by a reader written here, from its specification; refusals; whole or not at all."""

import gzip
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ifttool
from export_helpers import CHATS, ONE_EOS, Pair, make_shards, read_jsonl, samples_by_split
from helpers import RunCli, chat, jsonl
from ifttool.errors import InputChanged, UsageError
from ifttool.exporting import mds
from ifttool.exporting.exporter import TARGETS
from ifttool.shards import file_sha256

Samples = dict[str, list[Pair]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a train and a validation split."""
    return make_shards(tmp_path_factory.mktemp("shards") / "run")


@pytest.fixture(scope="module")
def samples(shards: Path) -> Samples:
    """What is in it."""
    found = samples_by_split(shards)
    assert {split: len(rows) > 1 for split, rows in found.items()} == {"train": True, "validation": True}
    return found


def read_streams(folder: Path) -> list[dict[str, Any]]:
    names = [entry["filename"] for entry in json.loads((folder / "state.json").read_bytes())["_data_files"]]
    return [row for name in names for row in pa.ipc.open_stream((folder / name).read_bytes()).read_all().to_pylist()]


def test_hf_disk(shards: Path, samples: Samples, tmp_path: Path) -> None:
    summary = ifttool.export(shards, tmp_path / "out", to="hf-disk")
    splits = json.loads((tmp_path / "out" / "dataset_dict.json").read_bytes())["splits"]
    assert splits == list(summary.splits) == ["train", "validation"]
    for split in splits:
        rows = read_streams(tmp_path / "out" / split)
        assert [list(row) for row in rows] == [["input_ids", "attention_mask", "labels"]] * len(rows)
        assert [(row["input_ids"], row["labels"]) for row in rows] == samples[split]
        assert all(row["attention_mask"] == [1] * len(row["input_ids"]) for row in rows)
        info = json.loads((tmp_path / "out" / split / "dataset_info.json").read_bytes())
        assert info["features"]["labels"] == {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "Sequence"}
        figures = summary.splits[split]
        targets = sum(label != -100 for _, labels in samples[split] for label in labels)
        assert (figures.rows, figures.trained_tokens) == (len(rows), targets)


@pytest.mark.parity
@pytest.mark.parametrize("lengths", [False, True])
def test_hf_disk_in_datasets(shards: Path, samples: Samples, tmp_path: Path, lengths: bool) -> None:
    datasets = pytest.importorskip("datasets")
    ifttool.export(shards, tmp_path / "out", to="hf-disk", lengths=lengths)
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert {split: [(row["input_ids"], row["labels"]) for row in part] for split, part in loaded.items()} == samples
    # A copy has the features that dataset_info.json declares.
    loaded["train"].save_to_disk(str(tmp_path / "copy"))
    copy = datasets.load_from_disk(str(tmp_path / "copy"))
    extra = ["length", "lengths"] if lengths else []
    assert copy.column_names == ["input_ids", "attention_mask", "labels", *extra]
    assert copy["labels"][:] == [labels for _, labels in samples["train"]]
    assert datasets.load_from_disk(str(tmp_path / "out" / "validation")).num_rows == len(samples["validation"])


def test_hf_disk_lengths(shards: Path, samples: Samples, tmp_path: Path) -> None:
    ifttool.export(shards, tmp_path / "out", to="hf-disk", lengths=True)
    rows = read_streams(tmp_path / "out" / "train")
    lengths = [len(ids) for ids, _ in samples["train"]]
    assert [(row["length"], row["lengths"]) for row in rows] == [(length, [length]) for length in lengths]


def read_olmo(folder: Path, dtype: type) -> list[Pair]:
    """Documents by their listed bounds."""
    pairs: list[Pair] = []
    for path in sorted(folder.glob("token_ids_part_*.npy")):
        ids = np.fromfile(path, dtype).astype(np.int64)  # -100 doesn't fit the unsigned ids
        mask = np.fromfile(path.with_name(path.name.replace("token_ids", "labels_mask")), np.bool_)
        assert len(ids) == len(mask)
        labels = np.where(mask, ids, -100)
        for line in gzip.decompress(path.with_suffix(".csv.gz").read_bytes()).decode().splitlines():
            start, stop = map(int, line.split(","))
            pairs.append((ids[start:stop].tolist(), labels[start:stop].tolist()))
    return pairs


@pytest.mark.parametrize(("vocab_size", "dtype"), [(None, np.uint16), (65536, np.uint16), (65537, np.uint32)])
def test_olmo_core(shards: Path, samples: Samples, tmp_path: Path, vocab_size: int | None, dtype: type) -> None:
    ifttool.export(shards, tmp_path / "out", to="olmo-core", vocab_size=vocab_size)
    assert {split: read_olmo(tmp_path / "out" / split, dtype) for split in samples} == samples


def test_olmo_core_refuses_other_eos(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl(chat("Hi", "Hello"), chat("Hi", "Hello", "Again", "Hello")))
    ifttool.mask(source, tmp_path / "newline")  # ChatML ends in a line break
    with pytest.raises(UsageError, match=r"train-00000-of-00001.parquet row 1 \(from .*in.jsonl:1\) has no EOS token"):
        ifttool.export(tmp_path / "newline", tmp_path / "out", to="olmo-core")
    template = tmp_path / "each.jinja"
    template.write_text(ONE_EOS.replace("<|endoftext|>", "<|im_end|>"), encoding="utf-8")
    ifttool.mask(source, tmp_path / "each", template=str(template))
    with pytest.raises(UsageError, match=r"row 1 .* has 2 EOS tokens"):
        ifttool.export(tmp_path / "each", tmp_path / "out", to="olmo-core")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))] == []
    ifttool.export(tmp_path / "each", tmp_path / "out", to="olmo-core", eos_anywhere=True)
    assert read_olmo(tmp_path / "out" / "train", np.uint16) == samples_by_split(tmp_path / "each")["train"]


def test_olmo_core_needs_room_for_ids(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--vocab-size 256 is less than the tokenizer's"):
        ifttool.export(shards, tmp_path / "out", to="olmo-core", vocab_size=256)


def test_megatron_bin(shards: Path, samples: Samples, tmp_path: Path) -> None:
    ifttool.export(shards, tmp_path / "out", to="megatron-bin", drop_loss_mask=True)
    for split, expected in samples.items():
        index = (tmp_path / "out" / f"{split}.idx").read_bytes()
        magic, version, code, rows, documents = struct.unpack_from("<9sQBQQ", index)
        assert (magic, version, code, rows, documents) == (b"MMIDIDX\0\0", 1, 8, len(expected), len(expected) + 1)
        lengths = np.frombuffer(index, "<i4", rows, offset=34)
        offsets = np.frombuffer(index, "<i8", rows, offset=34 + 4 * rows)
        assert np.frombuffer(index, "<i8", offset=34 + 12 * rows).tolist() == list(range(rows + 1))
        tokens = (tmp_path / "out" / f"{split}.bin").read_bytes()
        pairs = zip(offsets.tolist(), lengths.tolist(), strict=True)
        found = [np.frombuffer(tokens, "<u2", length, offset=start).tolist() for start, length in pairs]
        assert found == [ids for ids, _ in expected]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "train.bin",
        "train.idx",
        "validation.bin",
        "validation.idx",
    ]


def test_megatron_bin_says_what_is_lost(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no loss mask") as caught:
        ifttool.export(shards, tmp_path / "out", to="megatron-bin")
    assert "--drop-loss-mask" in caught.value.hint


@pytest.mark.parametrize(
    ("mask", "turns"),
    [
        ([0, 1, 1], [([10], [11, 12])]),
        ([0, 1, 0, 0, 1, 0], [([10], [11]), ([12, 13], [14])]),
        ([0, 0], []),
        ([], []),
    ],
)
def test_mds_turns(mask: list[int], turns: list[tuple[list[int], list[int]]]) -> None:
    ids = np.arange(10, 10 + len(mask), dtype=np.int32)
    expected = [{"input_ids": context, "labels": target} for context, target in turns]
    assert mds.masked_runs(ids, np.array(mask, np.int8)) == expected


class FakeWriter:
    """Stands for ``streaming.MDSWriter``: one JSON line a sample. The real one writes in the conformance suite."""

    def __init__(self, *, columns: dict[str, str], out: str) -> None:
        assert columns == {"turns": "json"}
        Path(out).mkdir()
        self._path = Path(out) / "rows.jsonl"

    def __enter__(self) -> "FakeWriter":
        self._file = self._path.open("w")
        return self

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def joined(turns: list[dict[str, list[int]]]) -> Pair:
    """A sample as LLM-Foundry joins it: contexts are no targets, targets are."""
    ids = [token for turn in turns for token in turn["input_ids"] + turn["labels"]]
    return ids, [label for turn in turns for label in [-100] * len(turn["input_ids"]) + turn["labels"]]


def test_mds(shards: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streaming", SimpleNamespace(MDSWriter=FakeWriter))
    summary = ifttool.export(shards, tmp_path / "out", to="mds")
    for split, expected in samples.items():
        assert [joined(row["turns"]) for row in read_jsonl(tmp_path / "out" / split / "rows.jsonl")] == expected
        assert summary.splits[split].remarks == {}


def test_mds_counts_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streaming", SimpleNamespace(MDSWriter=FakeWriter))
    run = make_shards(tmp_path / "run", template="chatml", validation=None)  # a line break behind the last EOS
    summary = ifttool.export(run, tmp_path / "out", to="mds")
    expected = samples_by_split(run)["train"]
    rows = read_jsonl(tmp_path / "out" / "train" / "rows.jsonl")
    assert [joined(row["turns"]) for row in rows] == [(ids[:-1], labels[:-1]) for ids, labels in expected]
    assert summary.splits["train"].remarks == {mds.CUT_OFF: len(expected)}
    other = make_shards(tmp_path / "other", template="chatml", validation=None, train_end_of_turn=False)
    summary = ifttool.export(other, tmp_path / "again", to="mds")
    count = len(samples_by_split(other)["train"])
    assert summary.splits["train"].remarks == {mds.CUT_OFF: 2 * count, mds.EOS_ADDED: count}


def test_mds_names_its_extra(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streaming", None)
    with pytest.raises(UsageError, match="needs mosaicml-streaming") as caught:
        ifttool.export(shards, tmp_path / "out", to="mds")
    assert "ifttool[mds]" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_manifest(shards: Path, tmp_path: Path) -> None:
    ifttool.export(shards, tmp_path / "out", to="olmo-core", vocab_size=50000)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["format"], manifest["to"]) == ("ifttool.export/1", "olmo-core")
    assert manifest["options"] == {"vocab_size": 50000}
    assert manifest["shards"] == {"manifest_sha256": file_sha256(shards / "manifest.json")}
    found = {
        path.relative_to(tmp_path / "out").as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert manifest["files"] == found
    ifttool.export(shards, tmp_path / "again", to="olmo-core", vocab_size=50000)
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (tmp_path / "out" / "manifest.json").read_bytes()


def test_force_replaces_exports_only(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ifttool.export(shards, out, to="hf-disk")
    with pytest.raises(UsageError, match="isn't empty"):
        ifttool.export(shards, out, to="olmo-core")
    ifttool.export(shards, out, to="olmo-core", force=True)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "train", "validation"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (out / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="isn't an earlier export"):
        ifttool.export(shards, out, to="hf-disk", force=True)
    with pytest.raises(UsageError, match="lies in the folder of the shards"):
        ifttool.export(shards, shards / "hf", to="hf-disk")


def test_a_failed_export_leaves_nothing(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ifttool.exporting.hf_disk._batch", fail)
    with pytest.raises(KeyboardInterrupt):
        ifttool.export(shards, tmp_path / "deep" / "out", to="hf-disk")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_shard_of_another_run_is_noticed(shards: Path, tmp_path: Path) -> None:
    make_shards(tmp_path / "run")
    wrong = next((shards / "data").glob("validation-*"))
    next((tmp_path / "run" / "data").glob("train-*")).write_bytes(wrong.read_bytes())
    with pytest.raises(InputChanged, match="its manifest says"):
        ifttool.export(tmp_path / "run", tmp_path / "out", to="hf-disk")
    next((tmp_path / "run" / "data").glob("train-*")).unlink()
    with pytest.raises(InputChanged, match="is missing"):
        ifttool.export(tmp_path / "run", tmp_path / "out", to="hf-disk")


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"megatron-bin", "messages"}))
def test_samples_without_a_mask_are_refused(tmp_path: Path, target: str) -> None:
    ifttool.tokenize(CHATS[0], tmp_path / "run", no_loss=True)
    with pytest.raises(UsageError, match="neither loss_mask nor labels"):
        ifttool.export(tmp_path / "run", tmp_path / "out", to=target)


def test_labels_will_do(shards: Path, samples: Samples, tmp_path: Path) -> None:
    make_shards(tmp_path / "run", layout="trl", format="arrow")
    ifttool.export(tmp_path / "run", tmp_path / "out", to="hf-disk")
    rows = read_streams(tmp_path / "out" / "train")
    assert [(row["input_ids"], row["labels"]) for row in rows] == samples["train"]


def test_options_are_for_their_format(cli: RunCli, shards: Path, tmp_path: Path) -> None:
    for options, message in (
        (["--to", "hf-dik"], "did you mean hf-disk?"),
        (["--to", "mds", "--lengths"], "--lengths is for --to hf-disk only"),
        (["--to", "hf-disk", "--drop-loss-mask"], "--drop-loss-mask is for --to megatron-bin only"),
    ):
        result = cli("export", shards, "-o", tmp_path / "out", *options)
        assert (result.code, message in result.err) == (2, True), result.err
    result = cli("export", tmp_path / "none", "--to", "hf-disk", "-o", tmp_path / "out")
    assert (result.code, "manifest.json" in result.err) == (2, True)


def test_command(cli: RunCli, shards: Path, samples: Samples, tmp_path: Path) -> None:
    result = cli("export", shards, "--to", "megatron-bin", "--drop-loss-mask", "-o", tmp_path / "out", "--json")
    tokens = sum(len(ids) for ids, _ in samples["train"])
    assert f"train: {len(samples['train'])} rows, {tokens:,} tokens\n" in result.err
    assert json.loads(result.out)["splits"]["train"]["tokens"] == tokens
