"""--force: the earlier output stays as it is until the new one is whole."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ifttool
from export_helpers import make_shards
from helpers import TINY, RunCli, chat, environment, jsonl
from ifttool import output, pipeline
from ifttool.errors import RunError, UsageError
from ifttool.exporting import exporter
from ifttool.io.atomic import SUCCESSOR
from ifttool.packing import documents

DATE: dict[str, Any] = {"date": "2026-01-31"}


def files(folder: Path | str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def full(*_: Any, **__: Any) -> None:
    raise RunError("the disk is full")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``out`` and ``one.parquet`` hold earlier outputs, with a list of rejects each."""
    monkeypatch.chdir(tmp_path)
    Path("old.jsonl").write_bytes(jsonl(TINY) + b"{\n")
    Path("new.jsonl").write_bytes(jsonl(*(chat("Hi", f"Number {n}") for n in range(30))))
    Path("bad.jsonl").write_bytes(b"[\n" + Path("new.jsonl").read_bytes())
    for target in ("out", "one.parquet"):
        ifttool.mask("old.jsonl", target, max_rejects=1, **DATE)
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"shuffle": 1}])
@pytest.mark.parametrize("target", ["out", "one.parquet"])
def test_a_new_output_takes_the_place_of_the_old(folder: Path, target: str, options: dict[str, Any]) -> None:
    fresh = f"fresh-{target}"
    ifttool.mask("new.jsonl", fresh, **options, **DATE)
    before = files(folder)
    summary = ifttool.mask("new.jsonl", target, force=True, **options, **DATE)
    assert summary.committed
    after = files(folder)
    # The list of rejects goes with the output whose rejects they are.
    assert not any("rejects" in name for name in after if name.startswith(target.partition(".")[0]))
    expected = {name.removeprefix("fresh-"): data for name, data in after.items() if name.startswith(fresh)}
    assert {name: data for name, data in after.items() if name.startswith(target)} == expected
    gone = {"out": "out/rejects.jsonl", "one.parquet": "one.rejects.jsonl"}[target]
    assert before.keys() - after.keys() == {gone}


@pytest.mark.parametrize(("target", "refused"), [("out", "out/refused.jsonl"), ("one.parquet", "one.refused.jsonl")])
def test_a_refused_run_leaves_the_old_output(folder: Path, target: str, refused: str) -> None:
    before = files(folder)
    summary = ifttool.mask("bad.jsonl", target, force=True, **DATE)
    assert (summary.committed, summary.rejects) == (False, Path(refused))
    after = files(folder)
    assert b'"code": "IFT' in after.pop(refused)
    assert after == before
    assert ifttool.verify("out").is_verified
    # The next one that replaces the output takes the list away.
    if target == "out":
        assert ifttool.mask("new.jsonl", target, force=True, **DATE).committed
        assert refused not in files(folder)


@pytest.mark.parametrize(
    ("target", "owner", "name"),
    [
        ("out", output.FolderSink, "finish"),
        ("out", output.FolderSink, "write_tokenizer"),
        ("out", output, "replace_output"),
        ("one.parquet", output.FileSink, "finish"),
        ("one.parquet", output, "merge_parts"),
    ],
)
def test_an_error_leaves_the_old_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, target: str, owner: Any, name: str
) -> None:
    before = files(folder)
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(RunError, match="the disk is full"):
        ifttool.mask("bad.jsonl", target, force=True, max_rejects=1, **DATE)
    assert files(folder) == before


def test_options_that_cant_be_used_leave_it_too(folder: Path, cli: RunCli) -> None:
    before = files(folder)
    assert cli("mask", "new.jsonl", "-o", "out", "--force", "--shards", 99).code == 2
    assert cli("mask", "nonesuch.jsonl", "-o", "out", "--force").code == 2
    assert files(folder) == before
    Path("out/thesis.tex").touch()
    with pytest.raises(UsageError, match=r"didn't write: thesis\.tex"):
        ifttool.mask("new.jsonl", "out", force=True)
    assert files(folder) == before | {"out/thesis.tex": b""}


# Kills itself at the n-th call of a function: `child.py MODULE:NAME N CODE`.
CHILD = """
import functools, importlib, os, signal, sys
import ifttool
from ifttool import pipeline
pipeline.read_splits = functools.partial(pipeline.read_splits, split_bytes=300)
module, _, names = sys.argv[1].partition(":")
*owners, name = names.split(".")
owner = functools.reduce(getattr, owners, importlib.import_module(module))
whole, left = getattr(owner, name), [int(sys.argv[2])]
def deadly(*args, **kwargs):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)
setattr(owner, name, deadly)
exec(sys.argv[3])
"""
FORCED = "ifttool.mask('new.jsonl', 'out', force=True, date='2026-01-31', workers=1)"


def killed(function: str, count: int, code: str) -> None:
    program = [sys.executable, "-c", CHILD, function, str(count), code]
    done = subprocess.run(program, env=environment(), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("function", "count"),
    [
        ("ifttool.running.journal:Journal.add", 1),
        ("ifttool.running.journal:Journal.add", 4),
        ("ifttool.output:FolderSink.finish", 1),
        ("ifttool.output:replace_output", 1),
    ],
)
def test_a_killed_run_leaves_the_old_output_and_can_be_resumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, count: int
) -> None:
    monkeypatch.setattr(pipeline, "read_splits", functools.partial(pipeline.read_splits, split_bytes=300))
    ifttool.mask("new.jsonl", "whole", **DATE)
    before = files("out")
    killed(function, count, FORCED)
    assert {name: data for name, data in files("out").items() if not name.startswith(SUCCESSOR)} == before
    assert ifttool.verify("out").is_verified
    for other in ({"max_length": 99}, {"train_on": "final-turn"}):
        with pytest.raises(UsageError, match="was begun by another run"):
            ifttool.mask("new.jsonl", "out", resume=True, **DATE, **other)
    if count == 4:
        killed("ifttool.running.journal:Journal.add", 2, FORCED.replace("force", "resume"))
    ifttool.mask("new.jsonl", "out", resume=True, **DATE)
    assert files("out") == files("whole")
    assert ifttool.mask("new.jsonl", "out", resume=True, **DATE).committed


@pytest.mark.parametrize("count", [1, 2, 6, 7, 11])
def test_killed_between_the_renames(folder: Path, count: int) -> None:
    """Never a mixture that looks complete; both ways to go on end with the new output."""
    ifttool.mask("new.jsonl", "whole", **DATE)
    killed("pathlib:Path.rename", count, FORCED)
    if Path("out/manifest.json").exists():
        complete = [name for name, data in files("out").items() if data == files("whole").get(name)]
        assert ifttool.verify("out", sample=0).is_verified, complete
    again: dict[str, Any] = {"resume": True} if count % 2 else {"force": True}
    ifttool.mask("new.jsonl", "out", **again, **DATE)
    assert {name: data for name, data in files("out").items() if name != "manifest.json"} == {
        name: data for name, data in files("whole").items() if name != "manifest.json"
    }


def test_leftovers_of_a_killed_run_go_with_the_next_one(folder: Path) -> None:
    killed("ifttool.running.journal:Journal.add", 2, FORCED)
    assert (folder / "out" / SUCCESSOR).is_dir()
    ifttool.mask("new.jsonl", "out", force=True, **DATE)
    killed("ifttool.pipeline:join_rejects", 1, FORCED.replace("'out'", "'one.parquet'"))
    assert Path(".one.parquet.parts").is_dir()
    ifttool.mask("new.jsonl", "one.parquet", force=True, **DATE)
    assert not [path for path in folder.rglob(".*") if path.name != ".deps"]


def test_links_stay_links(folder: Path) -> None:
    Path("real").mkdir()
    Path("out").rename("real/out")
    Path("one.parquet").rename("real/one.parquet")
    for name in ("out", "one.parquet"):
        Path(name).symlink_to(folder / "real" / name)
        ifttool.mask("new.jsonl", name, force=True, **DATE)
        assert Path(name).is_symlink()
    assert ifttool.stats("out").samples == ifttool.stats("real/one.parquet").samples == 30


# --- packs and exports ------------------------------------------------------------------------------


@pytest.mark.parametrize(("owner", "name"), [(documents, "_card"), (output, "replace_output")])
def test_packs_are_replaced_when_they_are_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    ifttool.pack("out", "packed", length=100)
    before = files("packed")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(RunError, match="the disk is full"):
            ifttool.pack("out", "packed", length=40, force=True)
    assert files("packed") == before
    summary = ifttool.pack("out", "packed", length=20, force=True)
    assert summary.rejects == Path("packed/rejects.jsonl")
    assert summary.rejects.is_file()
    ifttool.pack("out", "packed", length=100, force=True)
    assert files("packed") == before
    assert folder / SUCCESSOR not in list(folder.rglob("*"))


def test_exports_are_replaced_when_they_are_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shards(folder / "run")
    ifttool.export("run", "hf", to="hf-disk")
    before = files(folder)

    def stuck(self: Path, target: Path) -> Path:
        if target.name == "hf" and self.name.startswith(".ifttool-") and not self.name.endswith("-old.tmp"):
            raise OSError(5, os.strerror(5))
        return rename(self, target)

    rename = Path.rename
    for owner, name, failing in ((exporter, "_write_manifest", full), (Path, "rename", stuck)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            with pytest.raises(RunError):
                ifttool.export("run", "hf", to="hf-disk", force=True)
        assert files(folder) == before


def test_drafts_of_killed_exports_go_with_the_next_one(folder: Path) -> None:
    make_shards(folder / "run")
    ifttool.export("run", "hf", to="hf-disk")
    code = "ifttool.export('run', {name!r}, to='hf-disk', force=True)"
    # Another export's draft stays, and one of the same that is still being written.
    killed("ifttool.exporting.exporter:_write_manifest", 1, code.format(name="other"))
    kept = {path.name for path in folder.glob(".ifttool-*")}
    assert len(kept) == 1
    killed("ifttool.exporting.exporter:_write_manifest", 1, code.format(name="hf"))
    assert len(list(folder.glob(".ifttool-*"))) == 2
    before = files("hf")
    # In the middle of the two renames: what was there before is put back.
    killed("pathlib:Path.rename", 2, code.format(name="hf"))
    assert not Path("hf").exists()
    with pytest.raises(UsageError, match="isn't empty"):
        ifttool.export("run", "hf", to="hf-disk")
    assert files("hf") == before
    assert {path.name for path in folder.glob(".ifttool-*")} == kept


def test_drafts_of_living_exports_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shards(folder / "run")
    write: Callable[..., None] = exporter._write_manifest

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(exporter, "_write_manifest", write)
        (draft,) = folder.glob(".ifttool-*")
        ifttool.export("run", "hf", to="hf-disk")
        assert draft.is_dir()
        write(*arguments)

    monkeypatch.setattr(exporter, "_write_manifest", meanwhile)
    ifttool.export("run", "hf", to="hf-disk")
    assert not list(folder.glob(".ifttool-*"))
