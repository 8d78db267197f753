"""The manifest: inputs by content, everything that decides the bytes, nothing of the machine or the hour."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import ifttool
from helpers import SAMPLES, TINY, chat, jsonl, read_manifest
from ifttool.errors import InputChanged, UsageError
from ifttool.io.input_digests import InputDigest, InputDigests, digest_input
from ifttool.manifest import read_manifest as load
from ifttool.recipe import Recipe
from ifttool.split import process_split


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_it_says(tmp_path: Path, tiny: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"{]\n" + jsonl(chat("Hi", "Hello")))
    out = tmp_path / "out"
    ifttool.mask([tiny, bad], out, date="2026-01-31", max_rejects=1, max_length=900)
    manifest = read_manifest(out)
    assert manifest["input_files"] == {
        str(path): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in (tiny, bad)
    }
    ledger = manifest["inputs"][str(bad)]
    assert (ledger["lines"], ledger["kept"], ledger["rejected"]) == (2, 1, {"IFT102": 1})
    assert manifest["verdicts"] == {"exact": 3}
    recipe = manifest["recipe"]
    assert (recipe["date"], recipe["max_length"], recipe["tokenizer"]) == ("2026-01-31", 900, "default")
    assert manifest["template"] == {
        "name": "chatml",
        "sha256": hashlib.sha256(recipe["template"].encode()).hexdigest(),
    }
    assert manifest["tokenizer"]["sha256"] == sha256(out / "tokenizer" / "tokenizer.json")
    assert manifest["options"]["format"] == "parquet"
    assert manifest["options"]["max_rejects"] == {"count": 1, "share": None}
    assert manifest["versions"]["ifttool"] == ifttool.__version__
    for shard in manifest["shards"]:
        assert (shard["sha256"], shard["bytes"]) == (
            sha256(out / shard["path"]),
            (out / shard["path"]).stat().st_size,
        )
    assert {"rows", "tokens", "trained_tokens", "longest", "content_sha256"} <= manifest["shards"][0].keys()
    assert manifest["files"] == {
        name: sha256(out / name)
        for name in (
            "provenance/train-00000-of-00002.parquet",
            "provenance/train-00001-of-00002.parquet",
            "rejects.jsonl",
        )
    }
    assert json.loads(json.dumps(Recipe.from_json(recipe).as_json())) == recipe


def test_equal_runs_write_equal_manifests(tmp_path: Path) -> None:
    source = SAMPLES / "chat.jsonl"
    for name, workers in (("a", 1), ("b", 2)):
        ifttool.mask(source, tmp_path / name, date="2026-01-31", workers=workers)
    manifest = (tmp_path / "a" / "manifest.json").read_bytes()
    assert manifest == (tmp_path / "b" / "manifest.json").read_bytes()
    # Where the output lies and who wrote it isn't in it.
    assert str(tmp_path).encode() not in manifest


def test_streams_are_recorded_as_such(tmp_path: Path, tiny: Path) -> None:
    with tiny.open("rb") as stdin:
        ifttool.mask("-", tmp_path / "out", stdin=stdin)
    assert read_manifest(tmp_path / "out")["input_files"] == {"-": {"bytes": None, "sha256": None}}


def test_an_input_that_changes_between_splits_is_noticed(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_append(*arguments: Any, **options: Any) -> Any:
        result = process_split(*arguments, **options)
        with tiny.open("ab") as file:
            file.write(jsonl(TINY))
        return result

    monkeypatch.setattr("ifttool.engine.process_split", then_append)
    with pytest.raises(InputChanged, match="changed while it was read"):
        ifttool.mask(tiny, tmp_path / "out", workers=1)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_digests_of_files_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1_000_000)
    assert digest_input(str(path)) == InputDigest(3_000_000, sha256(path))
    assert digest_input("-") == InputDigest()
    with InputDigests([str(path), "-"]) as digests:
        assert digests.results() == {str(path): digest_input(str(path)), "-": InputDigest()}
    digests = InputDigests([str(path)])
    path.write_bytes(b"abc")
    with digests, pytest.raises(InputChanged):
        digests.results()
    digests = InputDigests([str(path)])
    with digests:
        assert digests.results()[str(path)].bytes == 3
        path.unlink()
        with pytest.raises(InputChanged):
            digests.results()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"{", "isn't JSON"),
        (b"[]", "is of format None; this needs"),
        (
            json.dumps({"format": "ifttool.examples/0"}).encode(),
            "is of format ifttool.examples/0; this needs ifttool.examples/1",
        ),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load(path)
