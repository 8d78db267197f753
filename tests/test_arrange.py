"""Splits, order and shard sizes: what is promised of each, whatever the workers and the parts."""

import functools
import re
import shlex
import shutil
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ifttool
from helpers import ROOT, SAMPLES, Result, RunCli, chat, jsonl, read_manifest, run_python
from ifttool import pipeline
from ifttool.arranging import ordering, phase
from ifttool.arranging.cuts import Cut, cut_splits
from ifttool.arranging.routing import SplitSize
from ifttool.arranging.spec import Arrangement
from ifttool.errors import UsageError
from ifttool.shards import read_batches
from ifttool.split import read_splits

CHATS = [chat(f"Count to {n}.", " ".join(map(str, range(1, n % 40 + 2))), "Again.", f"No, {n}.") for n in range(200)]

# Starting processes takes longer than these inputs.
mask = functools.partial(ifttool.mask, workers=1, date="2026-01-31")

SmallSplits = Callable[[int], None]


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Two hundred conversations of two assistant turns, all different."""
    path = tmp_path / "chats.jsonl"
    path.write_bytes(jsonl(*CHATS))
    return path


@pytest.fixture
def small_splits(monkeypatch: pytest.MonkeyPatch) -> SmallSplits:
    """Cut inputs into splits of so many bytes."""
    return lambda size: monkeypatch.setattr(pipeline, "read_splits", functools.partial(read_splits, split_bytes=size))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """Samples of a split beside their provenance, in order."""
    out = []
    for shard in sorted((folder / "data").glob(f"{split}-*.parquet")):
        samples = pq.read_table(shard).to_pylist()
        origins = pq.read_table(folder / "provenance" / shard.name).to_pylist()
        out += [{**sample, **origin} for sample, origin in zip(samples, origins, strict=True)]
    return out


def lines(folder: Path, split: str = "train") -> list[tuple[int, int | None]]:
    return [(row["line"], row["turn"]) for row in rows(folder, split)]


def shard_rows(folder: Path, split: str = "train") -> list[int]:
    return [pq.read_metadata(path).num_rows for path in sorted((folder / "data").glob(f"{split}-*.parquet"))]


# --- without options ----------------------------------------------------------------------------------


def test_without_options_nothing_is_arranged(tmp_path: Path, chats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask({str(chats): 1}, tmp_path / "named", dedup="none", seed=5)
    monkeypatch.setattr(pipeline, "Phase", None)
    mask(chats, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "named")
    manifest = read_manifest(tmp_path / "out")
    assert "arrangement" not in manifest["options"]
    assert "splits" not in manifest
    assert "conversation" not in rows(tmp_path / "out")[0]


def test_an_arrangement_changes_no_sample(tmp_path: Path, chats: Path) -> None:
    mask(chats, tmp_path / "plain")
    mask(chats, tmp_path / "arranged", shards=3)
    assert rows(tmp_path / "arranged") == rows(tmp_path / "plain")
    schemas = [pq.read_schema(next((tmp_path / name / "data").iterdir())) for name in ("plain", "arranged")]
    assert schemas[0].equals(schemas[1], check_metadata=True)


# --- validation ---------------------------------------------------------------------------------------


def test_no_conversation_is_in_both_splits(tmp_path: Path, chats: Path) -> None:
    summary = mask(chats, tmp_path / "out", validation=0.2, unroll="always")
    train, held_out = rows(tmp_path / "out"), rows(tmp_path / "out", "validation")
    assert not {row["conversation"] for row in train} & {row["conversation"] for row in held_out}
    assert sorted([*lines(tmp_path / "out"), *lines(tmp_path / "out", "validation")]) == [
        (line, turn) for line in range(1, 201) for turn in (1, 3)
    ]
    assert 0.1 < len(held_out) / 400 < 0.3
    assert summary.splits is not None
    assert [summary.splits[name]["samples"] for name in ("train", "validation")] == [len(train), len(held_out)]
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "  data_files:\n  - split: train\n    path: data/train-*.parquet\n"
        "  - split: validation\n    path: data/validation-*.parquet\n"
    ) in card


def test_membership_stays_when_rows_come_and_move(tmp_path: Path, chats: Path, small_splits: SmallSplits) -> None:
    mask(chats, tmp_path / "before", validation=0.2)
    before = {row["conversation"] for row in rows(tmp_path / "before", "validation")}
    others = [chat(f"Other {n}", "Yes.") for n in range(50)]
    (tmp_path / "one.jsonl").write_bytes(jsonl(*others, *reversed(CHATS[:100])))
    (tmp_path / "two.jsonl").write_bytes(jsonl(*[{**row, "id": str(n)} for n, row in enumerate(CHATS[100:])]))
    small_splits(3000)
    mask([tmp_path / "one.jsonl", tmp_path / "two.jsonl"], tmp_path / "after", validation=0.2, shuffle=1)
    after = {row["conversation"] for row in rows(tmp_path / "after", "validation")}
    assert before < after
    assert not before & {row["conversation"] for row in rows(tmp_path / "after")}


def test_a_larger_share_holds_out_more_and_a_seed_others(tmp_path: Path, chats: Path) -> None:
    held_out = {}
    for name, share, seed in (("some", 0.1, 0), ("more", 0.3, 0), ("other", 0.3, 1)):
        mask(chats, tmp_path / name, validation=share, seed=seed)
        held_out[name] = set(lines(tmp_path / name, "validation"))
    assert held_out["some"] < held_out["more"]
    assert held_out["other"] != held_out["more"]


def test_copies_are_for_training(tmp_path: Path, chats: Path) -> None:
    mask({str(chats): 3}, tmp_path / "out", validation=0.2)
    train, held_out = lines(tmp_path / "out"), lines(tmp_path / "out", "validation")
    assert len(set(train)) * 3 == len(train)
    assert len(set(held_out)) == len(held_out) == 200 - len(set(train))


def test_an_empty_validation_split_is_a_shard_without_rows(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(jsonl(CHATS[0]))
    mask(tmp_path / "one.jsonl", tmp_path / "out", validation=0.0001)
    assert (shard_rows(tmp_path / "out"), shard_rows(tmp_path / "out", "validation")) == ([1], [0])
    assert pq.read_schema(tmp_path / "out/data/validation-00000-of-00001.parquet").names[0] == "input_ids"


# --- order --------------------------------------------------------------------------------------------


def test_shuffle_is_a_permutation_by_seed(tmp_path: Path, chats: Path) -> None:
    orders = {}
    for seed in (1, 2):
        mask(chats, tmp_path / str(seed), shuffle=seed, unroll="always")
        orders[seed] = lines(tmp_path / str(seed))
    mask(chats, tmp_path / "plain", unroll="always")
    in_order = lines(tmp_path / "plain")
    assert sorted(orders[1]) == sorted(orders[2]) == in_order
    assert len({tuple(order) for order in (*orders.values(), in_order)}) == 3
    by_place = {(row["line"], row["turn"]): row["input_ids"] for row in rows(tmp_path / "plain")}
    assert all(by_place[row["line"], row["turn"]] == row["input_ids"] for row in rows(tmp_path / "1"))


def test_a_shuffled_order_is_not_near_the_input_order(tmp_path: Path, chats: Path) -> None:
    mask(chats, tmp_path / "out", shuffle=7)
    order = np.array([line for line, _ in lines(tmp_path / "out")])
    assert abs(float(np.corrcoef(order, np.arange(200))[0, 1])) < 0.25
    assert int((np.diff(order) == 1).sum()) < 6


def test_equal_conversations_do_not_end_up_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "equal.jsonl").write_bytes(jsonl(*[CHATS[n % 2] for n in range(60)]))
    mask({str(tmp_path / "equal.jsonl"): 2}, tmp_path / "out", shuffle=1)
    said = [row["conversation"] for row in rows(tmp_path / "out")]
    assert len(said) == 120
    assert sum(one != other for one, other in pairwise(said)) > 40


ALL: dict[str, Any] = {"validation": 0.1, "shuffle": 3, "shards": 4, "dedup": "exact", "unroll": "always"}


def everything(tmp_path: Path, out: str, **options: Any) -> dict[str, bytes]:
    """The files of a run that uses every option at once."""
    (tmp_path / "more.jsonl").write_bytes(jsonl(*CHATS[150:], *[chat(f"More {n}", "Sure.") for n in range(80)]))
    inputs: dict[str, Any] = {str(tmp_path / "chats.jsonl"): 1.5, str(tmp_path / "more.jsonl"): "70rows"}
    mask(inputs, tmp_path / out, **{**ALL, **options})
    return files(tmp_path / out)


@pytest.mark.usefixtures("chats")
def test_bytes_depend_on_nothing_else(
    tmp_path: Path, small_splits: SmallSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everything(tmp_path, "whole")
    assert len([name for name in whole if name.startswith("data/train")]) == 4
    monkeypatch.setattr(ordering, "_AT_ONCE", 2000)
    monkeypatch.setattr(ordering, "_SLICE_ROWS", 7)
    assert everything(tmp_path, "buckets") == whole
    small_splits(9000)
    assert everything(tmp_path, "splits") == whole
    assert everything(tmp_path, "workers", workers=2) == whole


def test_arrow_and_single_files_hold_the_same(tmp_path: Path, chats: Path) -> None:
    options: dict[str, Any] = {"shuffle": 3, "dedup": "exact"}
    mask(chats, tmp_path / "parquet", **options)
    mask(chats, tmp_path / "arrow", format="arrow", **options)
    mask(chats, tmp_path / "one.parquet", **options)
    mask(chats, tmp_path / "one.arrow", **options)
    expected = [row["input_ids"] for row in rows(tmp_path / "parquet")]
    for path in (tmp_path / "arrow/data/train-00000-of-00001.arrow", tmp_path / "one.parquet", tmp_path / "one.arrow"):
        assert [row["input_ids"] for batch in read_batches(path) for row in batch.to_pylist()] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arrow",
        "chats.jsonl",
        "one.arrow",
        "one.parquet",
        "parquet",
    ]


def test_samples_without_a_mask_are_arranged_too(tmp_path: Path, chats: Path) -> None:
    tokenize = functools.partial(ifttool.tokenize, chats, no_loss=True, workers=1)
    tokenize(tmp_path / "plain")
    tokenize(tmp_path / "out", shuffle=1, shards=2)
    assert pq.read_schema(tmp_path / "out/data/train-00000-of-00002.parquet").names == ["input_ids", "attention_mask"]
    assert sorted(row["input_ids"] for row in rows(tmp_path / "out")) == sorted(
        row["input_ids"] for row in rows(tmp_path / "plain")
    )


# --- sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3, 8, 200])
def test_shards_are_equal_in_rows(tmp_path: Path, chats: Path, shards: int) -> None:
    mask(chats, tmp_path / "out", shards=shards, shuffle=1)
    sizes = shard_rows(tmp_path / "out")
    assert (len(sizes), sum(sizes)) == (shards, 200)
    assert max(sizes) - min(sizes) <= 1


def test_fewer_samples_than_shards(tmp_path: Path, chats: Path) -> None:
    with pytest.raises(UsageError, match="200 samples can't fill 201 shards") as raised:
        mask(chats, tmp_path / "out", shards=201)
    assert raised.value.hint == "ask for --shards 200 or fewer"
    assert files(tmp_path / "out") == {}


def test_shards_of_tokens(tmp_path: Path, chats: Path) -> None:
    mask(chats, tmp_path / "out", shard_tokens=2000)
    manifest = read_manifest(tmp_path / "out")
    tokens = [shard["tokens"] for shard in manifest["shards"]]
    longest = max(shard["longest"] for shard in manifest["shards"])
    assert len(tokens) == -(-manifest["tokens"] // 2000)
    assert all(abs(size - manifest["tokens"] / len(tokens)) < longest for size in tokens)


lengths_of_rows = st.lists(st.integers(1, 60), min_size=1, max_size=80)


def cut_into(lengths: list[int], cut: Cut, batches: list[int]) -> list[list[int]]:
    """The lengths of each shard's samples, cut batch by batch."""
    out: list[list[int]] = [[] for _ in range(cut.shards)]
    row = token = 0
    for start, stop in zip([0, *batches], [*batches, len(lengths)], strict=True):
        some = np.array(lengths[start:stop], np.int64)
        for shard, length in zip(cut.shard_of(row, some, token).tolist(), some.tolist(), strict=True):
            out[shard].append(length)
        row, token = row + len(some), token + int(some.sum())
    return out


@given(lengths=lengths_of_rows, tokens=st.integers(1, 500), data=st.data())
def test_cuts_by_tokens(lengths: list[int], tokens: int, data: st.DataObject) -> None:
    size = SplitSize(len(lengths), sum(lengths), 0, max(lengths))
    cut = cut_splits(Arrangement(shard_tokens=tokens), {"train": size})["train"]
    batches = sorted(data.draw(st.lists(st.integers(0, len(lengths)), max_size=3)))
    shards = cut_into(lengths, cut, batches)
    assert [length for shard in shards for length in shard] == lengths
    assert all(abs(sum(shard) - size.tokens / cut.shards) < size.longest for shard in shards)
    assert all(shards)


@given(lengths=lengths_of_rows, data=st.data())
def test_cuts_by_rows(lengths: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, len(lengths)))
    size = SplitSize(len(lengths), sum(lengths), 0, max(lengths))
    cut = cut_splits(Arrangement(shards=wanted), {"train": size})["train"]
    batches = sorted(data.draw(st.lists(st.integers(0, len(lengths)), max_size=3)))
    counts = [len(shard) for shard in cut_into(lengths, cut, batches)]
    assert (len(counts), sum(counts)) == (wanted, len(lengths))
    assert max(counts) - min(counts) <= 1


@settings(max_examples=50)
@given(train=st.integers(1, 1000), held_out=st.integers(0, 1000), shards=st.integers(1, 64))
def test_other_splits_have_shards_no_larger(train: int, held_out: int, shards: int) -> None:
    sizes = {"train": SplitSize(train, train, 0, 1), "validation": SplitSize(held_out, held_out, 0, 1)}
    arrangement = Arrangement(shards=shards, validation=Fraction(1, 2))
    if shards > train:
        with pytest.raises(UsageError, match="can't fill"):
            cut_splits(arrangement, sizes)
        return
    cuts = cut_splits(arrangement, sizes)
    assert cuts["train"].shards == shards
    assert cuts["validation"].shards >= 1
    assert held_out / cuts["validation"].shards <= train / shards


# --- whole or absent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "--validation can't be 0"),
        ({"validation": 1.0}, "--validation can't be 1"),
        ({"dedup": "near"}, "--dedup can't be 'near'"),
        ({"shards": 0}, "--shards can't be 0"),
        ({"shard_tokens": -5}, "--shard-tokens can't be -5"),
        ({"shards": 2, "shard_tokens": 5}, "--shards and --shard-tokens exclude each other"),
    ],
)
def test_refused_options(tmp_path: Path, chats: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        mask(chats, tmp_path / "out", **options)
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"validation": 0.1}, {"shards": 2}, {"shard_tokens": 100}])
def test_one_file_has_neither_splits_nor_shards(tmp_path: Path, chats: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs a folder to write to"):
        mask(chats, tmp_path / "one.parquet", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["chats.jsonl"]


@pytest.mark.parametrize("target", ["out", "one.parquet"])
@pytest.mark.parametrize("stage", ["resolve_survey", "arrange"])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, chats: Path, monkeypatch: pytest.MonkeyPatch, target: str, stage: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(phase, stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        mask(chats, tmp_path / target, shuffle=1, dedup="exact")
    assert files(tmp_path) == {"chats.jsonl": chats.read_bytes()}


def test_interrupted_while_shards_are_written(tmp_path: Path, chats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_AT_ONCE", 2000)
    read = ordering._sorted

    def fail(bucket: Path) -> Any:
        if bucket.name == "bucket-00002":
            raise KeyboardInterrupt
        return read(bucket)

    monkeypatch.setattr(ordering, "_sorted", fail)
    with pytest.raises(KeyboardInterrupt):
        mask(chats, tmp_path / "out", shuffle=1, validation=0.2)
    assert files(tmp_path) == {"chats.jsonl": chats.read_bytes()}


@pytest.mark.parametrize("stage", ["arrange", "place"])
def test_an_arranged_run_is_resumed(
    tmp_path: Path, chats: Path, monkeypatch: pytest.MonkeyPatch, small_splits: SmallSplits, stage: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    small_splits(9000)
    options: dict[str, Any] = {"shuffle": 1, "validation": 0.2, "dedup": "exact"}
    mask(chats, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        if stage == "arrange":
            patch.setattr(ordering, "_sorted", interrupt)
        else:
            patch.setattr("ifttool.output.FolderSink.place", interrupt)
        with pytest.raises(KeyboardInterrupt):
            mask(chats, tmp_path / "out", resume=True, **options)
    assert list((tmp_path / "out" / "data" / ".stage").glob("bucket-*" if stage == "arrange" else "train-*"))
    mask(chats, tmp_path / "out", resume=True, **options)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_too_many_rejects_are_found_before_anything_is_arranged(tmp_path: Path, chats: Path) -> None:
    chats.write_bytes(chats.read_bytes() + b"{\n")
    summary = mask(chats, tmp_path / "out", **ALL)
    assert not summary.committed
    assert sorted(files(tmp_path / "out")) == ["rejects.jsonl"]


def test_arranging_on_the_command_line(tmp_path: Path, chats: Path, cli: RunCli) -> None:
    arguments = ["--validation", "0.1", "--shuffle", "7", "--shards", "2", "--seed", "1", "--workers", "1"]
    result = cli("unroll", chats, "-o", tmp_path / "cli", "--date", "2026-01-31", *arguments)
    assert result.code == 0
    assert "train: 354 samples; validation: 46 samples" in result.err
    options: dict[str, Any] = {"validation": 0.1, "shuffle": 7, "shards": 2, "seed": 1}
    ifttool.unroll_shards(chats, tmp_path / "api", date="2026-01-31", workers=1, **options)
    assert files(tmp_path / "cli") == files(tmp_path / "api")


# --- memory -------------------------------------------------------------------------------------------


def test_memory_stays_flat(tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as file:
        for n in range(4000):
            file.write(jsonl(chat(f"Say {n}", f"{n} " * 1000)))
    code = (
        "import re, ifttool\n"
        "from pathlib import Path\n"
        "summary = ifttool.mask('large.jsonl', 'out', workers=1, shuffle=1, validation=0.1, dedup='exact')\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "print(summary.tally.tokens, int(peak[1]) >> 10)"
    )
    tokens, megabytes = map(int, run_python(code, cwd=tmp_path).split())
    assert tokens > 2 * ordering._AT_ONCE
    assert megabytes < 600


# --- the document -------------------------------------------------------------------------------------


DOCUMENT = ROOT / "docs" / "datasets.md"


def test_the_document_names_every_option() -> None:
    options = {"input", *Arrangement.__dataclass_fields__} - {"weights"}
    named = set(re.findall(r"--[a-z-]+", DOCUMENT.read_text(encoding="utf-8")))
    assert {f"--{name.replace('_', '-')}" for name in options} <= named


def test_the_document_is_true(tmp_path: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, tmp_path / "samples")
    examples = re.findall(r"```sh\n(.*?)```\n\n```text\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 4
    for code, said in examples:
        for line in code.splitlines():
            program, *arguments = shlex.split(line)
            if program == "cp":
                shutil.copy(*arguments)
            else:
                assert cli(*arguments) == Result(0, "", said)
