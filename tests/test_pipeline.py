"""Runs end to end: inputs of every kind, outputs that are whole or absent, the same bytes every time."""

import functools
import gzip
import json
import lzma
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import ifttool
from helpers import (
    ROOT,
    SAMPLES,
    TINY,
    chat,
    command,
    content_digests,
    environment,
    jsonl,
    read_manifest,
    read_provenance,
    read_shards,
    run_python,
)
from ifttool import pipeline, worker
from ifttool.errors import InputChanged, TemplateError, UsageError
from ifttool.pipeline import read_splits
from ifttool.shards import read_batches

CHATS = [chat(f"Count to {n}.", " ".join(map(str, range(1, n + 1)))) for n in range(1, 41)]


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Forty short conversations."""
    path = tmp_path / "chats.jsonl"
    path.write_bytes(jsonl(*CHATS))
    return path


def files(folder: Path) -> dict[str, bytes]:
    """Everything in an output folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is written --------------------------------------------------------------------------------


def test_layout_and_manifest(tmp_path: Path) -> None:
    source = SAMPLES / "chat.jsonl"
    summary = ifttool.mask(source, tmp_path / "out", date="2026-01-31")
    assert sorted(files(tmp_path / "out")) == [
        "README.md",
        "data/train-00000-of-00001.parquet",
        "manifest.json",
        "provenance/train-00000-of-00001.parquet",
        "tokenizer/chat_template.jinja",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    ]
    manifest = read_manifest(tmp_path / "out")
    rows = read_shards(tmp_path / "out")
    assert manifest["format"] == "ifttool.examples/1"
    assert manifest["recipe"]["date"] == "2026-01-31"
    assert manifest["inputs"] == {str(source): {"lines": 11, "blanks": 0, "kept": 11, "rejected": {}, "dropped": {}}}
    assert manifest["samples"] == len(rows) == 11
    assert manifest["tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert manifest["trained_tokens"] == sum(sum(row["loss_mask"]) for row in rows)
    assert manifest["verdicts"] == {"exact": 14}
    assert manifest["messages"] == {"assistant": 14, "system": 2, "user": 14}
    assert [shard["rows"] for shard in manifest["shards"]] == [11]
    assert summary.as_json()["shards"] == manifest["shards"]
    assert "path: data/train-*.parquet" in (tmp_path / "out" / "README.md").read_text()


def test_provenance_is_row_aligned(tmp_path: Path) -> None:
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "out")
    sidecar = read_provenance(tmp_path / "out")
    ids = [json.loads(line)["id"] for line in (SAMPLES / "chat.jsonl").read_bytes().splitlines()]
    assert [row["id"] for row in sidecar] == ids
    assert [row["line"] for row in sidecar] == list(range(1, 12))
    for row, origin in zip(read_shards(tmp_path / "out"), sidecar, strict=True):
        assert origin["tokens"] == len(row["input_ids"])
        assert origin["trained_tokens"] == sum(row["loss_mask"])


def test_manifest_comes_last(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    write = pipeline.FolderSink.write_manifest

    def watch(self: Any, manifest: Any) -> None:
        seen.append(sorted(path.name for path in (tmp_path / "out").iterdir()))
        write(self, manifest)

    monkeypatch.setattr(pipeline.FolderSink, "write_manifest", watch)
    ifttool.mask(tiny, tmp_path / "out")
    assert seen == [[".ifttool-journal.tmp", "README.md", "data", "provenance", "tokenizer"]]
    assert not (tmp_path / "out" / ".ifttool-journal.tmp").exists()


def test_arrow_and_single_files(tmp_path: Path, chats: Path) -> None:
    ifttool.mask(chats, tmp_path / "parquet")
    ifttool.mask(chats, tmp_path / "arrow", format="arrow")
    for columns in ("input_ids,labels", None):
        for name in ("one.parquet", "one.arrow"):
            summary = ifttool.mask(chats, tmp_path / name, columns=columns, force=True)
            # The digest of the same rows is the same, whatever holds them.
            assert [shard.info.content_sha256 for shard in summary.shards] == content_digests(tmp_path / "parquet")
    rows = read_shards(tmp_path / "parquet")
    assert content_digests(tmp_path / "parquet") == content_digests(tmp_path / "arrow")
    for path in (
        tmp_path / "arrow" / "data" / "train-00000-of-00001.arrow",
        tmp_path / "one.parquet",
        tmp_path / "one.arrow",
    ):
        assert [row for batch in read_batches(path) for row in batch.to_pylist()] == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arrow",
        "chats.jsonl",
        "one.arrow",
        "one.parquet",
        "parquet",
    ]


def test_empty_input_gives_an_empty_shard(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    summary = ifttool.mask(tmp_path / "empty.jsonl", tmp_path / "out")
    ifttool.mask(tmp_path / "empty.jsonl", tmp_path / "one.parquet")
    assert summary.tally.total.lines == 0
    assert read_manifest(tmp_path / "out")["inputs"][str(tmp_path / "empty.jsonl")]["lines"] == 0
    shard = tmp_path / "out" / "data" / "train-00000-of-00001.parquet"
    for path in (shard, tmp_path / "one.parquet"):
        assert pq.read_table(path).num_rows == 0
        assert pq.read_schema(path).names == ["input_ids", "loss_mask", "labels", "attention_mask"]


# --- inputs -----------------------------------------------------------------------------------------


def packed(kind: str, data: bytes) -> bytes:
    """Data under a compression."""
    if kind == "gz":
        return gzip.compress(data)
    return lzma.compress(data) if kind == "xz" else bytes(zstandard.compress(data))


@pytest.mark.parametrize("kind", ["gz", "zst", "xz"])
def test_compressed_inputs(tmp_path: Path, chats: Path, kind: str) -> None:
    source = tmp_path / f"chats.jsonl.{kind}"
    source.write_bytes(packed(kind, chats.read_bytes()))
    ifttool.mask(chats, tmp_path / "plain")
    ifttool.mask(source, tmp_path / "packed")
    assert content_digests(tmp_path / "plain") == content_digests(tmp_path / "packed")


def test_standard_input_and_parquet(tmp_path: Path, chats: Path) -> None:
    pq.write_table(pa.Table.from_pylist(CHATS), tmp_path / "chats.parquet")
    ifttool.mask(chats, tmp_path / "file")
    with chats.open("rb") as stream:
        ifttool.mask("-", tmp_path / "stdin", stdin=stream)
    ifttool.mask(tmp_path / "chats.parquet", tmp_path / "columns")
    assert content_digests(tmp_path / "file") == content_digests(tmp_path / "stdin")
    assert content_digests(tmp_path / "file") == content_digests(tmp_path / "columns")


def test_globs_are_sorted_and_keep_a_ledger_each(tmp_path: Path, chats: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "b.jsonl").write_bytes(jsonl(*CHATS[15:]))
    (parts / "a.jsonl").write_bytes(jsonl(*CHATS[:15]))
    ifttool.mask(chats, tmp_path / "whole")
    summary = ifttool.mask(str(parts / "*.jsonl"), tmp_path / "out")
    assert read_shards(tmp_path / "out") == read_shards(tmp_path / "whole")
    assert {Path(name).name: ledger.lines for name, ledger in summary.tally.sources.items()} == {
        "a.jsonl": 15,
        "b.jsonl": 25,
    }


# --- the same bytes -----------------------------------------------------------------------------------


def test_two_runs_give_identical_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / name, date="2026-01-31")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_batch_size_does_not_matter(tmp_path: Path, chats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ifttool.mask(chats, tmp_path / "large")
    monkeypatch.setattr(worker, "BATCH_CHARS", 1)
    ifttool.mask(chats, tmp_path / "small")
    large, small = files(tmp_path / "large"), files(tmp_path / "small")
    assert large == small


def test_shards_depend_on_the_input_alone(tmp_path: Path, chats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ifttool.mask(chats, tmp_path / "one")
    ifttool.mask(chats, tmp_path / "one.parquet")
    monkeypatch.setattr(pipeline, "read_splits", functools.partial(read_splits, split_bytes=2000))
    ifttool.mask(chats, tmp_path / "many")
    ifttool.mask(chats, tmp_path / "many.parquet")
    shards = read_manifest(tmp_path / "many")["shards"]
    assert [shard["path"] for shard in shards] == [f"data/train-{n:05d}-of-00007.parquet" for n in range(7)]
    assert read_shards(tmp_path / "many") == read_shards(tmp_path / "one")
    assert read_provenance(tmp_path / "many") == read_provenance(tmp_path / "one")
    assert pq.read_table(tmp_path / "many.parquet") == pq.read_table(tmp_path / "one.parquet")


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (0, [0]),
        (1, [1]),
        (16, [16]),
        (17, [4.25, 4, 4, 4.75]),
        (40, [10, 7.5, 5.625, 4.21875, 4, 4, 4.65625]),
        (80, [16, 16, 12, 9, 6.75, 5.0625, 4, 4, 4, 3.1875]),
    ],
)
def test_splits_of_a_file_take_a_quarter_of_what_is_left(tmp_path: Path, size: int, sizes: list[float]) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"{}       \n" * (100 * size))
    splits = list(read_splits([str(tmp_path / "in.jsonl")], split_bytes=16_000))
    assert [split.size / 1000 for split in splits] == pytest.approx(sizes, abs=0.05)


# --- whole or absent ----------------------------------------------------------------------------------


def test_an_output_that_is_not_empty_is_refused(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"isn't empty|didn't write: thesis\.tex"):
            ifttool.mask(tiny, tmp_path / "out", force=force)
    assert files(tmp_path / "out") == {"thesis.tex": b"years of work"}


def test_force_replaces_an_earlier_output(tmp_path: Path, tiny: Path, chats: Path) -> None:
    ifttool.mask(chats, tmp_path / "out")
    with pytest.raises(UsageError, match="isn't empty"):
        ifttool.mask(tiny, tmp_path / "out")
    ifttool.mask(tiny, tmp_path / "out", force=True)
    assert len(read_shards(tmp_path / "out")) == 1
    ifttool.mask(tiny, tmp_path / "one.parquet")
    with pytest.raises(UsageError, match=r"one\.parquet exists"):
        ifttool.mask(tiny, tmp_path / "one.parquet")
    ifttool.mask(chats, tmp_path / "one.parquet", force=True)
    assert pq.read_table(tmp_path / "one.parquet").num_rows == 40


def test_too_many_rejects_commit_nothing(tmp_path: Path, tiny: Path) -> None:
    source = tmp_path / "bad.jsonl"
    source.write_bytes(tiny.read_bytes() + b"{\n")
    for target, rejects in (("out", "out/rejects.jsonl"), ("one.parquet", "one.rejects.jsonl")):
        summary = ifttool.mask(source, tmp_path / target)
        assert (summary.committed, summary.shards) == (False, ())
        assert summary.rejects == tmp_path / rejects
    assert sorted(files(tmp_path)) == ["bad.jsonl", "one.rejects.jsonl", "out/rejects.jsonl", "tiny.jsonl"]


def test_trying_again_after_rejects_needs_no_force(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b"{\n")
    assert not ifttool.mask(tmp_path / "bad.jsonl", tmp_path / "out").committed
    assert ifttool.mask(tiny, tmp_path / "out").committed
    assert not (tmp_path / "out" / "rejects.jsonl").exists()


def test_a_damaged_stream_leaves_no_shards(tmp_path: Path, chats: Path) -> None:
    source = tmp_path / "cut.jsonl.gz"
    source.write_bytes(gzip.compress(os.urandom(4000).hex().encode())[:-20])
    (tmp_path / "there").mkdir()
    for out in ("new", "there", "one.parquet"):
        with pytest.raises(InputChanged):
            ifttool.mask([chats, source], tmp_path / out)
    # An empty folder that was there is somebody's own.
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["chats.jsonl", "cut.jsonl.gz", "there"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"template": "llama-3"}, TemplateError, "ends turns with <|eot_id|>, but tokenizer default has no such token"),
        ({"template": "nonesuch"}, TemplateError, "no built-in template 'nonesuch'"),
        ({"tokenizer": "nonesuch"}, UsageError, "no tokenizer at nonesuch"),
        ({"format": "csv"}, UsageError, "--format can't be 'csv'"),
        ({"max_rejects": "some"}, UsageError, "--max-rejects can't be 'some'"),
        ({"max_length": 1}, UsageError, "max-length can't be 1"),
        ({"workers": -1}, UsageError, "--workers can't be -1"),
        ({"workers": 0}, UsageError, "--workers can't be 0"),
        ({"workers": 1.5}, UsageError, "--workers can't be 1.5"),
        ({"workers": "2"}, UsageError, "--workers can't be '2'"),
        ({"date": "tomorrow"}, UsageError, "--date 'tomorrow' isn't a date"),
    ],
)
def test_refused_before_anything_is_written(
    tmp_path: Path, tiny: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        ifttool.mask(tiny, tmp_path / "out", **options)
    assert message in str(raised.value)
    assert sorted(files(tmp_path)) == ["tiny.jsonl"]
    assert not (tmp_path / "out").exists()


def test_an_output_that_no_manifest_can_name(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(UsageError, match=r"out\\udcff isn't UTF-8"):
        ifttool.mask(tiny, tmp_path / "out\udcff")
    assert sorted(files(tmp_path)) == ["tiny.jsonl"]


def test_a_format_that_contradicts_the_name(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(UsageError, match=r"--format arrow and -o .*one\.parquet contradict each other"):
        ifttool.mask(tiny, tmp_path / "one.parquet", format="arrow")
    assert sorted(files(tmp_path)) == ["tiny.jsonl"]
    ifttool.mask(tiny, tmp_path / "one.arrow", format="arrow")
    ifttool.mask(tiny, tmp_path / "two.arrow")
    assert (tmp_path / "one.arrow").read_bytes() == (tmp_path / "two.arrow").read_bytes()


def test_text_markers_on_request(tmp_path: Path, tiny: Path) -> None:
    summary = ifttool.mask(tiny, tmp_path / "out", template="llama-3", allow_text_markers=True)
    assert summary.tally.samples == 1


# --- processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "ifttool: interrupted\n"), (signal.SIGTERM, 143, "ifttool: terminated\n")],
)
def test_signals_leave_nothing_behind(tmp_path: Path, number: signal.Signals, code: int, said: str) -> None:
    process = subprocess.Popen(
        command("mask", "-", "-o", "out"),
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells start what runs in the background with SIGINT ignored, and children inherit that.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / "provenance").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, said)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("output", "step"),
    [
        ("out", "output.Path.mkdir"),
        ("out", "pipeline.Journal"),
        ("out", "pipeline.training_schema"),
        ("out.parquet", "pipeline.training_schema"),
    ],
)
def test_interrupted_while_a_run_begins(
    tmp_path: Path, tiny: Path, output: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path.mkdir

    def interrupted(*arguments: Any, **options: Any) -> None:
        if step.endswith("mkdir"):
            made(*arguments, **options)
            if arguments[0].name != "provenance":
                return
        raise KeyboardInterrupt

    monkeypatch.setattr(f"ifttool.{step}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ifttool.mask(tiny, tmp_path / output)
    assert [*tmp_path.iterdir()] == [tiny]


def test_memory_stays_flat(tmp_path: Path) -> None:
    line = json.dumps(chat(*[f"{n} " * 700 for n in range(6)])).encode() + b"\n"
    with (tmp_path / "large.jsonl").open("wb") as file:
        while file.tell() < 60_000_000:
            file.write(line * 200)
    code = (
        "import re, ifttool\n"
        "from pathlib import Path\n"
        "summary = ifttool.tokenize('large.jsonl', 'out', no_loss=True)\n"
        # Not ru_maxrss: a new process inherits that from the one that started it.
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "print(summary.tally.samples, int(peak[1]) >> 10)"
    )
    samples, megabytes = map(int, run_python(code, cwd=tmp_path).split())
    assert samples == (tmp_path / "large.jsonl").stat().st_size // len(line)
    assert megabytes < 500


def test_tokenizer_of_the_output_reproduces_it(tmp_path: Path) -> None:
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "out")
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "again", tokenizer=str(tmp_path / "out" / "tokenizer"))
    assert content_digests(tmp_path / "out") == content_digests(tmp_path / "again")


def test_samples_of_every_shape_are_read(tmp_path: Path) -> None:
    names = ["alpaca", "chat", "multi_turn", "prompt_completion", "sharegpt", "tools"]
    sources = [SAMPLES / f"{name}.jsonl" for name in names]
    summary = ifttool.mask(sources, tmp_path / "out", template="qwen3")
    assert summary.committed
    assert summary.tally.total.kept == sum(len(path.read_bytes().splitlines()) for path in sources)


def test_tiny_is_the_same_by_every_way_in(tmp_path: Path, tiny: Path) -> None:
    turns = [{"from": message["role"], "value": message["content"]} for message in TINY["messages"]]
    sharegpt = tmp_path / "sharegpt.jsonl"
    sharegpt.write_bytes(jsonl({"conversations": turns}))
    ifttool.mask(tiny, tmp_path / "messages")
    ifttool.mask(sharegpt, tmp_path / "sharegpt")
    assert content_digests(tmp_path / "messages") == content_digests(tmp_path / "sharegpt")


def test_checkout_is_what_is_tested() -> None:
    assert Path(ifttool.__file__).parents[1] == ROOT
