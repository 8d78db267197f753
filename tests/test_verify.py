"""Verification finds what was changed, names it, and says when it couldn't look."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import ifttool
from helpers import SAMPLES, RunCli, chat, edit_manifest, jsonl, rewrite, sign
from ifttool.errors import TokenizerError, UsageError

ROWS = [chat("Count.", " ".join(map(str, range(n))), "Again?", "No.", id=f"row-{n}") for n in range(1, 13)]
SHARD = "data/train-00000-of-00001.parquet"
SIDECAR = "provenance/train-00000-of-00001.parquet"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_bytes(jsonl(*ROWS))
    return path


@pytest.fixture
def out(tmp_path: Path, source: Path) -> Path:
    ifttool.mask(source, tmp_path / "out", date="2026-01-31")
    return tmp_path / "out"


def messages(out: Path, **options: Any) -> list[str]:
    return [f"{found.path}: {found.message}" for found in ifttool.verify(out, **options).differences]


# --- what is right ----------------------------------------------------------------------------------


def test_a_fresh_run_is_verified(out: Path, cli: RunCli) -> None:
    report = ifttool.verify(out, sample=None)
    assert report.is_verified
    # The shard, its sidecar, and three files of the tokenizer.
    assert (report.files, report.rows, report.sampled, report.compared) == (5, 12, 12, 12)
    done = cli("verify", out, "--sample", 5)
    assert done.code == 0
    assert done.err == "5 files checked; 5 of 12 samples derived again, 0 differences\nverified\n"
    assert cli("verify", out, "--quiet") == type(done)(0, "", "")


@pytest.mark.parametrize(
    "options",
    [
        {"unroll": "always"},
        {"train_on": "all-tokens"},
        {"train_on": "last-2-turns", "train_end_of_turn": False, "unroll": "auto"},
        {"max_length": 60, "overflow": "truncate"},
        {"max_length": 60, "overflow": "drop"},
        {"turn_tokens": (4, 20), "boundary": "split", "content_specials": "drop"},
        {"format": "arrow", "train_reasoning": False, "train_tool_calls": False},
        {"template": "plain.jinja", "append_eos": True},
    ],
)
def test_every_option_is_derived_again(
    tmp_path: Path, source: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    text += "{% if add_generation_prompt %}[assistant] {% endif %}"
    (tmp_path / "plain.jinja").write_text(text)
    sources = [source, SAMPLES / "tools.jsonl", SAMPLES / "multi_turn.jsonl"]
    if "append_eos" not in options:  # its empty answer is located by plans, and not without them
        sources.append(SAMPLES / "chat.jsonl")
    summary = ifttool.mask(sources, tmp_path / "out", max_rejects="50%", **options)
    report = ifttool.verify(tmp_path / "out", sample=None)
    assert report.differences == []
    assert report.compared == summary.tally.samples > 10


def test_tokenize_and_unroll_are_verified_too(tmp_path: Path, source: Path) -> None:
    ifttool.tokenize(source, tmp_path / "plain")
    ifttool.tokenize(source, tmp_path / "no-loss", no_loss=True)
    ifttool.unroll_shards(source, tmp_path / "unrolled", train_on="assistant-turns")
    for name, rows in (("plain", 12), ("no-loss", 12), ("unrolled", 24)):
        report = ifttool.verify(tmp_path / name, sample=None)
        assert (report.is_verified, report.compared) == (True, rows)


@pytest.mark.parametrize(
    "options",
    [
        {"validation": 0.3},
        {"shuffle": 7, "shards": 3},
        {"dedup": "exact", "shard_tokens": 300},
        {"validation": 0.2, "shuffle": 1, "dedup": "exact", "unroll": "always", "format": "arrow"},
    ],
)
def test_arranged_folders(tmp_path: Path, source: Path, options: dict[str, Any]) -> None:
    twice = tmp_path / "twice.jsonl"
    twice.write_bytes(jsonl(*ROWS[:3], chat("New", "Row")))
    summary = ifttool.mask([source, twice], tmp_path / "out", **options)
    report = ifttool.verify(tmp_path / "out", sample=None)
    assert report.is_verified
    assert report.compared == summary.tally.samples


def test_mixtures(tmp_path: Path, source: Path) -> None:
    twice = tmp_path / "few.jsonl"
    twice.write_bytes(jsonl(*ROWS[:4]))
    for weights in ({source: 0.5, twice: 2.5}, {source: "7rows", twice: 1}):
        inputs = {str(name): weight for name, weight in weights.items()}
        summary = ifttool.mask(inputs, tmp_path / "out", force=True, shuffle=2)
        report = ifttool.verify(tmp_path / "out", sample=None)
        assert report.is_verified
        assert report.compared == summary.tally.samples


@pytest.mark.parametrize(
    "options",
    [
        {"columns": "input_ids,loss_mask"},
        {"columns": "input_ids,labels"},
        {"columns": ["labels", "attention_mask", "input_ids"]},
        {"layout": "trl"},
        {"layout": "axolotl", "format": "arrow"},
    ],
)
def test_fewer_columns(tmp_path: Path, source: Path, options: dict[str, Any]) -> None:
    ifttool.mask(source, tmp_path / "out", **options)
    assert ifttool.verify(tmp_path / "out", sample=None).is_verified
    if options.get("format") == "arrow":
        return
    name = "loss_mask" if "loss_mask" in options.get("columns", ()) else "labels"
    values = pq.read_table(tmp_path / "out" / SHARD)[name][0].as_py()
    at = next(index for index, value in enumerate(values) if value not in (0, -100))

    def change(columns: dict[str, list[Any]]) -> None:
        columns[name][0][at] = 0 if name == "loss_mask" else -100

    rewrite(tmp_path / "out" / SHARD, change)
    sign(tmp_path / "out", SHARD)
    found = ifttool.verify(tmp_path / "out", sample=None).differences
    assert [(one.row, one.token) for one in found if one.kind == "row"] == [(1, at)]


def test_ids_alone(tmp_path: Path, source: Path) -> None:
    ifttool.tokenize(source, tmp_path / "out", no_loss=True, columns="input_ids")
    assert pq.read_schema(tmp_path / "out" / SHARD).names == ["input_ids"]
    assert ifttool.verify(tmp_path / "out", sample=None).is_verified


def test_the_sample_is_the_same_every_time(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ifttool.verification import checking  # noqa: PLC0415

    chosen = []
    compare = checking.compare_picks

    def watch(picks: Any, *rest: Any) -> None:
        chosen.append([pick.row for pick in picks])
        compare(picks, *rest)

    monkeypatch.setattr(checking, "compare_picks", watch)
    for _ in range(2):
        ifttool.verify(out, sample=4)
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == 4
    # However few samples are held at a time, all are compared.
    monkeypatch.setattr(checking, "_TOKENS_AT_ONCE", 50)
    assert ifttool.verify(out, sample=None).compared == 12
    assert len(chosen) > 5


# --- what was changed -------------------------------------------------------------------------------


def test_a_flipped_bit(out: Path, cli: RunCli) -> None:
    raw = bytearray((out / SHARD).read_bytes())
    raw[60] ^= 1
    (out / SHARD).write_bytes(raw)
    done = cli("verify", out)
    assert done.code == 1
    assert f"{SHARD}: isn't the file of the manifest: its SHA-256 differs" in done.err
    # The page's checksum says it too: even with a manifest that agrees, no wrong token gets through.
    sign(out, SHARD)
    assert any("is damaged" in found for found in messages(out, sample=0))


def test_one_changed_token_is_named(out: Path, source: Path, cli: RunCli) -> None:
    def change(columns: dict[str, list[Any]]) -> None:
        columns["input_ids"][6][3] += 1

    before = pq.read_table(out / SHARD)["input_ids"][6].as_py()[3]
    rewrite(out / SHARD, change)
    sign(out, SHARD)
    assert any("content_sha256 is" in found for found in messages(out, sample=0))
    done = cli("verify", out, "--all")
    assert done.code == 1
    assert (
        f"{SHARD} row 7 (from {source}:7): token 3 is id {before + 1} (not trained); "
        f"derived again it is id {before} (not trained)" in done.err
    )
    report = json.loads(cli("verify", out, "--all", "--json", "--quiet").out)
    assert (report["verified"], report["complete"]) == (False, True)
    row = report["differences"][-1]
    assert (row["kind"], row["row"], row["line"], row["token"]) == ("row", 7, 7, 3)


def test_one_changed_mask_bit_and_a_lost_token(out: Path) -> None:
    mask = pq.read_table(out / SHARD)["loss_mask"].to_pylist()
    at = mask[0].index(1)

    def change(columns: dict[str, list[Any]]) -> None:
        columns["loss_mask"][0][at] = 0
        columns["labels"][0][at] = -100
        for name in ("input_ids", "loss_mask", "labels", "attention_mask"):
            columns[name][1].pop()

    rewrite(out / SHARD, change)
    rows = [found for found in ifttool.verify(out, sample=None).differences if found.kind == "row"]
    assert [(found.row, found.token) for found in rows] == [(1, at), (2, len(mask[1]) - 1)]
    assert "(not trained); derived again" in rows[0].message
    assert f"has {len(mask[1]) - 1} tokens; derived again it has {len(mask[1])}" == rows[1].message


def test_columns_that_contradict_each_other(out: Path) -> None:
    def change(columns: dict[str, list[Any]]) -> None:
        columns["labels"][2][5] = 7
        columns["attention_mask"][4].append(1)

    rewrite(out / SHARD, change)
    found = messages(out, sample=0)
    assert f"{SHARD}: labels doesn't fit the loss mask" in found
    assert f"{SHARD}: rows of attention_mask are of other lengths than input_ids" in found


def test_files_that_are_missing_or_too_many(out: Path) -> None:
    shutil.copyfile(out / SHARD, out / "data" / "train-00001-of-00001.parquet")
    (out / SIDECAR).unlink()
    found = messages(out)
    assert f"{SIDECAR}: is missing" in found
    assert any(line.startswith("data/train-00001-of-00001.parquet: isn't in the manifest") for line in found)
    (out / SHARD).unlink()
    (out / "tokenizer" / "chat_template.jinja").write_text("{{ messages }}")
    found = messages(out)
    assert f"{SHARD}: is missing" in found
    assert "tokenizer/chat_template.jinja: isn't the file of the manifest: its SHA-256 differs" in found


def test_provenance_that_names_other_rows(out: Path) -> None:
    def change(columns: dict[str, list[Any]]) -> None:
        columns["line"][0] = 2
        columns["line"][1] = 99
        columns["turn"][2] = 3
        columns["tokens"][4] += 1

    rewrite(out / SIDECAR, change)
    sign(out, SIDECAR)
    found = messages(out, sample=None)
    assert any("derived again" in line for line in found)
    assert f"{SHARD}: its input has no such row" in found
    assert f"{SHARD}: its input gives no sample for message 3" in found
    assert any("provenance says" in line for line in found)


def test_counts_that_dont_add_up(tmp_path: Path, source: Path) -> None:
    source.write_bytes(b"{]\n" + source.read_bytes())
    ifttool.mask(source, tmp_path / "out", max_rejects=1)
    assert messages(tmp_path / "out") == []

    def change(manifest: dict[str, Any]) -> None:
        manifest["inputs"][str(source)]["kept"] += 1
        manifest["samples"] += 1
        manifest["tokens"] += 1

    edit_manifest(tmp_path / "out", change)
    (tmp_path / "out" / "rejects.jsonl").write_bytes(b"")
    found = messages(tmp_path / "out", sample=0)
    assert f"manifest.json: {source} has 13 lines but 14 are accounted for" in found
    assert "manifest.json: samples is 13, its shards have 12" in found
    assert f"provenance: samples come from 12 rows of {source}, the manifest says 13" in found
    assert f"rejects.jsonl: lists 0 rows of {source}, the manifest says 1" in found


# --- what couldn't be compared ------------------------------------------------------------------------


def test_inputs_that_moved_are_found_by_content(tmp_path: Path, out: Path, source: Path, cli: RunCli) -> None:
    other = tmp_path / "elsewhere" / "deeper"
    other.mkdir(parents=True)
    (other / "decoy.jsonl").write_bytes(source.read_bytes().replace(b"Count", b"Cound"))
    source.rename(other / "renamed.jsonl")
    done = cli("verify", out)
    assert done.code == 2
    assert f"not verified: {source} isn't there any more: 12 samples weren't compared" in done.err
    assert "not fully verified" in done.err
    for place in (tmp_path / "elsewhere", other / "*.jsonl", other / "renamed.jsonl"):
        assert cli("verify", out, "--inputs", place).code == 0
    done = cli("verify", out, "--inputs", other / "decoy.jsonl")
    assert done.code == 2
    assert "has no file of the same content in --inputs" in done.err
    assert cli("verify", out, "--sample", 0).code == 0
    assert cli("verify", out, "--inputs", tmp_path / "nonesuch").code == 2


def test_inputs_that_changed(out: Path, source: Path) -> None:
    source.write_bytes(source.read_bytes() + jsonl(ROWS[0]))
    report = ifttool.verify(out)
    assert (report.is_complete, report.is_verified, report.differences) == (False, False, [])
    assert report.unverified == [f"{source} has changed since the run: 12 samples weren't compared"]


def test_streams_take_the_file_that_is_left(tmp_path: Path, source: Path) -> None:
    with source.open("rb") as stdin:
        ifttool.mask([SAMPLES / "chat.jsonl", "-"], tmp_path / "out", stdin=stdin)
    report = ifttool.verify(tmp_path / "out", sample=None)
    assert (report.compared, report.sampled, report.is_complete) == (11, 23, False)
    assert report.unverified == ["standard input was a stream, which can't be read again: 12 samples weren't compared"]
    report = ifttool.verify(tmp_path / "out", sample=None, inputs=[SAMPLES / "chat.jsonl", source])
    assert (report.compared, report.is_verified) == (23, True)
    report = ifttool.verify(tmp_path / "out", sample=None, inputs=[SAMPLES / "chat.jsonl"])
    assert report.unverified[0].startswith("standard input was a stream; --inputs has 0 files")


def test_what_cant_be_verified_at_all(tmp_path: Path, out: Path, cli: RunCli) -> None:
    assert cli("verify", tmp_path / "nothing").code == 2
    tokenizer = out / "tokenizer" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("1.0", "1.0 "))
    edit_manifest(out, lambda manifest: manifest["tokenizer"].update(sha256="0" * 64))
    with pytest.raises(TokenizerError, match="the tokenizer of these shards isn't there"):
        ifttool.verify(out)
    edit_manifest(out, lambda manifest: manifest.pop("tokenizer"))
    with pytest.raises(UsageError, match=r"manifest.json can't be used \(KeyError\('tokenizer'\)\)"):
        ifttool.verify(out)


def test_other_versions_are_noted(out: Path, cli: RunCli) -> None:
    edit_manifest(out, lambda manifest: manifest["versions"].update(ifttool="0.0.9"))
    done = cli("verify", out)
    assert done.code == 0
    assert f"note: versions changed since the run: ifttool 0.0.9 → {ifttool.__version__}" in done.err
