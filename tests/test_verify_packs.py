"""Verification of packs: every token is that of the row it was made of, and a manifest of packs repeats its run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ifttool
from helpers import SAMPLES, RunCli, chat, edit_manifest, jsonl, read_manifest, rewrite, sign
from ifttool.errors import UsageError
from ifttool.packing.schema import LAYOUTS

SHARD = "data/train-00000-of-00001.parquet"
SIDECAR = "provenance/train-00000-of-00001.parquet"
ROWS = [chat("Count.", " ".join(map(str, range(n))), "Again?", "No.", id=f"row-{n}") for n in range(1, 13)]


@pytest.fixture
def masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats.jsonl").write_bytes(jsonl(*ROWS))
    ifttool.mask("chats.jsonl", "masked", date="2026-01-31")
    return tmp_path / "masked"


def packed(layout: str = "default", **options: Any) -> Path:
    ifttool.pack("masked", f"packed-{layout}", length=150, layout=layout, **options)
    return Path(f"packed-{layout}")


def messages(out: Path, **options: Any) -> list[str]:
    return [f"{found.path}: {found.message}" for found in ifttool.verify(out, **options).differences]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("masked")
def test_fresh_packs_are_verified(layout: str) -> None:
    out = packed(layout, shards=2, window=7, seed=3)
    report = ifttool.verify(out)
    assert report.is_verified
    assert (report.rows, report.sampled, report.compared) == (12, 12, 12)
    assert report.packs == read_manifest(out)["samples"] > 4
    assert (ifttool.verify(out, sample=0).is_verified, ifttool.verify(out, sample=0).compared) == (True, 0)


def test_packs_of_other_shards(masked: Path, cli: RunCli) -> None:
    """Splits, Arrow, rows that were left out, and shards of others whose first tokens bear loss."""
    ifttool.mask([SAMPLES / "chat.jsonl", SAMPLES / "multi_turn.jsonl"], "split", validation=0.3, format="arrow")
    ifttool.pack(["split", masked], "packed", length=60)
    assert read_manifest(Path("packed"))["packing"]["overlong"] > 0
    assert ifttool.verify("packed").is_verified
    ids = pa.array([[5, 6, 7], [], [8]], pa.list_(pa.int64()))
    pq.write_table(pa.table({"input_ids": ids, "labels": ids}), "foreign.parquet")
    ifttool.pack("foreign.parquet", "theirs", length=9)
    done = cli("verify", "theirs")
    assert (done.code, done.err) == (
        0,
        "3 files checked; 2 of 2 samples in 1 pack compared with their shards, 0 differences\nverified\n",
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("masked")
def test_one_changed_token_is_noticed(layout: str) -> None:
    out = packed(layout)

    def change(columns: dict[str, list[Any]]) -> None:
        columns["input_ids"][1][-1] += 1

    rewrite(out / SHARD, change)
    sign(out, SHARD)
    report = ifttool.verify(out)
    origins = pq.read_table(out / SIDECAR).to_pylist()[1]
    (row,) = [found for found in report.differences if found.kind == "row"]
    assert (row.row, row.source, row.line) == (2, origins["shards"][-1], origins["rows"][-1] + 1)
    assert row.message == f"sample {origins['sequences']} of the pack isn't the row it was made of"
    assert any("content_sha256 is" in found.message for found in report.differences)


def mask_bit(columns: dict[str, list[Any]]) -> None:
    at = columns["loss_mask"][0].index(1)
    columns["loss_mask"][0][at], columns["labels"][0][at] = 0, -100


def label(columns: dict[str, list[Any]]) -> None:
    columns["labels"][0][0] = 7


def position(columns: dict[str, list[Any]]) -> None:
    columns["position_ids"][0][1] = 5


def lengths(columns: dict[str, list[Any]]) -> None:
    columns["seq_lengths"][0][0] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mask_bit, "sample 1 of the pack isn't the row it was made of"),
        (label, "labels doesn't fit the other columns"),
        (position, "position_ids doesn't fit the other columns"),
        (lengths, "lengths of samples don't add up to their packs"),
    ],
)
@pytest.mark.usefixtures("masked")
def test_changed_columns(change: Callable[[dict[str, list[Any]]], None], message: str) -> None:
    out = packed()
    rewrite(out / SHARD, change)
    sign(out, SHARD)
    assert f"{SHARD}: {message}" in messages(out)


@pytest.mark.usefixtures("masked")
def test_provenance_that_names_other_rows() -> None:
    out = packed()
    first, second = (pq.read_table(out / SIDECAR)["rows"].to_pylist()[pack][0] for pack in (0, 1))

    def change(columns: dict[str, list[Any]]) -> None:
        columns["rows"][0][0] = second
        columns["rows"][1][0] = 99
        columns["tokens"][2] += 1

    rewrite(out / SIDECAR, change)
    sign(out, SIDECAR)
    found = messages(out)
    assert found.count(f"{SHARD}: sample 1 of the pack isn't the row it was made of") == 2
    assert any("provenance says" in line for line in found)
    rewrite(out / SIDECAR, lambda columns: columns["rows"][1].__setitem__(0, second))
    sign(out, SIDECAR)
    found = messages(out)
    assert f"provenance: row {second + 1} of masked/{SHARD} is packed twice" in found
    assert f"provenance: samples come from 11 rows of masked/{SHARD}, the manifest says 12" in found
    assert first != second

    def shorten(columns: dict[str, list[Any]]) -> None:
        columns["sequences"][0] -= 1

    rewrite(out / SIDECAR, shorten)
    assert f"{SHARD}: provenance has other numbers of samples in packs" in messages(out)


@pytest.mark.usefixtures("masked")
def test_damaged_and_missing_files() -> None:
    out = packed()
    (out / "data" / "more.parquet").touch()
    (out / "tokenizer" / "chat_template.jinja").write_text("{{ messages }}")
    (out / SIDECAR).unlink()
    assert messages(out, sample=0)[:3] == [
        "tokenizer/chat_template.jinja: isn't the file of the manifest: its SHA-256 differs",
        f"{SIDECAR}: is missing",
        "data/more.parquet: isn't in the manifest, but a reader of the folder would load it",
    ]
    out = packed("trl")
    raw = bytearray((out / SHARD).read_bytes())
    raw[60] ^= 1
    (out / SHARD).write_bytes(raw)
    assert f"{SHARD}: isn't the file of the manifest: its SHA-256 differs" in messages(out)
    sign(out, SHARD)
    assert any("is damaged" in line for line in messages(out))
    edit_manifest(out, lambda manifest: manifest["options"].update(layout="nonesuch"))
    with pytest.raises(UsageError, match=r"manifest.json can't be used \(KeyError\('nonesuch'\)\)"):
        ifttool.verify(out)


def test_shards_that_moved_or_changed(masked: Path, cli: RunCli) -> None:
    out = packed()
    masked.rename("elsewhere")
    done = cli("verify", out)
    assert done.code == 2
    assert f"not verified: masked/{SHARD} isn't there any more: 12 samples weren't compared" in done.err
    assert cli("verify", out, "--sample", 0).code == 0
    assert cli("verify", out, "--inputs", "elsewhere").code == 0
    Path("elsewhere").rename("masked")
    ifttool.mask("chats.jsonl", "masked", date="2026-01-31", train_on="final-turn", force=True)
    assert ifttool.verify(out).unverified == [f"masked/{SHARD} has changed since the run: 12 samples weren't compared"]


# --- doing it again ---------------------------------------------------------------------------------


def test_a_manifest_of_packs_repeats_its_run(masked: Path, cli: RunCli) -> None:
    out = packed("unsloth", window=5, seed=9)
    done = cli("run", out / "manifest.json", "-o", "again", "--depfile", "again.mk")
    assert done.code == 0
    assert done.err.count("wrote again") == 1
    assert [(out / path).read_bytes() for path in (SHARD, SIDECAR, "manifest.json", "README.md")] == [
        Path("again", path).read_bytes() for path in (SHARD, SIDECAR, "manifest.json", "README.md")
    ]
    first = Path("again.mk").read_text().splitlines()[0]
    assert first == f"again/manifest.json: packed-unsloth/manifest.json masked/{SHARD}"
    assert 'layout = "unsloth"' in cli("run", "--show", out / "manifest.json").out
    summary = ifttool.run(out / "manifest.json", "thrice")
    assert summary.packed is not None
    assert summary.shards.tally == summary.packed.tally
    (masked / SHARD).write_bytes(b"")
    with pytest.raises(UsageError, match="has changed since the run"):
        ifttool.run(out / "manifest.json", "more")
    edit_manifest(out, lambda manifest: manifest["options"].update(speed="fast"))
    with pytest.raises(UsageError, match=r"can't be used \(TypeError"):
        ifttool.run(out / "manifest.json", "more")
