"""Nothing that is read is written over, and what can't be written is refused before the work."""

import errno
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ifttool
from helpers import SAMPLES, RunCli, chat, command, environment, jsonl
from ifttool.errors import RunError, UsageError
from ifttool.io.places import check_written, is_inside

ROWS = [chat(f"Count to {n}.", " ".join(map(str, range(1, n + 1)))) for n in range(1, 9)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: an input by four names, and a template."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_bytes(jsonl(*ROWS))
    (tmp_path / "soft.jsonl").symlink_to("in.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to("in.jsonl")
    (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("mask in.jsonl -o d --depfile in.jsonl", "--depfile would be written over in.jsonl, which is read"),
        ("mask in.jsonl -o d --depfile soft.jsonl", "--depfile would be written over in.jsonl, which is read"),
        ("mask in.jsonl -o d --depfile ./hard.jsonl", "--depfile would be written over in.jsonl, which is read"),
        ("mask in.jsonl -o d -t t.jinja --depfile t.jinja", "--depfile would be written over t.jinja, which is read"),
        ("mask in.jsonl -o d --depfile d/manifest.json", "--depfile d/manifest.json lies in the output folder d"),
        ("tokenize in.jsonl -o d --depfile d/x.mk", "--depfile d/x.mk lies in the output folder d"),
        ("mask in.jsonl -o d --depfile d", "--depfile d lies in the output folder d"),
        ("mask in.jsonl -o d.parquet --depfile d.parquet", "over d.parquet, where -o goes"),
        ("mask in.jsonl -o d.parquet --depfile d.rejects.jsonl", "where the list of rejected rows goes"),
        ("mask in.jsonl -o d --depfile no/x.mk", "no isn't a folder"),
        ("mask in.jsonl -o d=1 --depfile x.mk", "can't stand in a dependency file"),
        ("render in.jsonl -o in.jsonl -f", "-o would be written over in.jsonl, which is read"),
        ("render in.jsonl -o soft.jsonl -f", "-o would be written over in.jsonl, which is read"),
        ("render in.jsonl --rejects in.jsonl -o u.jsonl", "--rejects would be written over in.jsonl, which is read"),
        ("render in.jsonl --rejects u.jsonl -o ./u.jsonl", "-o would be written over u.jsonl, where --rejects goes"),
        ("render in.jsonl -t t.jinja -o t.jinja -f", "-o would be written over t.jinja, which is read"),
        ("unroll in.jsonl --rejects hard.jsonl -o u.jsonl", "--rejects would be written over in.jsonl"),
        ("unroll in.jsonl -o in.jsonl -f", "-o would be written over in.jsonl, which is read"),
        ("mask in.jsonl -o d --overflow truncate", "--overflow truncate needs a length to cut at"),
        ("mask in.jsonl -o d --validation nan", "--validation can't be nan"),
        ("mask in.jsonl -o d --validation inf", "--validation can't be inf"),
    ],
)
def test_refused_with_everything_as_it_was(folder: Path, cli: RunCli, arguments: str, message: str) -> None:
    before = files(folder)
    done = cli(*arguments.split())
    assert (done.code, message in done.err) == (2, True), done.err
    assert files(folder) == before


def test_parquet_inputs_and_what_lies_beside_them(folder: Path, cli: RunCli) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "in.parquet")
    (folder / "x.rejects.jsonl").write_bytes(jsonl(*ROWS))
    (folder / "out").mkdir()
    (folder / "out" / "rejects.jsonl").write_bytes(jsonl(*ROWS))
    before = files(folder)
    for arguments, message in [
        ("mask in.parquet -o in.parquet -f", "-o would be written over in.parquet, which is read"),
        ("mask x.rejects.jsonl -o x.parquet", "the list of rejected rows would be written over x.rejects.jsonl"),
        ("mask out/rejects.jsonl -o out", "the output folder out holds the input out/rejects.jsonl"),
    ]:
        done = cli(*arguments.split())
        assert (done.code, message in done.err) == (2, True), done.err
    assert files(folder) == before


def test_places_beside_each_other_are_fine(folder: Path) -> None:
    check_written({"a": folder / "a", "b": folder / "b"}, ["in.jsonl", "t.jinja", "-", "nothing"])
    (folder / "link").symlink_to("new")
    with pytest.raises(UsageError, match="b would be written over"):
        check_written({"a": folder / "new", "b": folder / "link"}, [])
    assert is_inside("link/x", "new")
    assert not is_inside("newer", "new")


def test_standard_input_is_a_file_too(folder: Path) -> None:
    with Path("in.jsonl").open("rb") as file:
        done = subprocess.run(
            command("render", "-", "-o", "in.jsonl", "-f"),
            stdin=file,
            env=environment(),
            capture_output=True,
            check=False,
        )
    assert (done.returncode, b"-o would be written over standard input" in done.stderr) == (2, True)
    assert (folder / "in.jsonl").read_bytes() == jsonl(*ROWS)


def test_a_depfile_may_share_the_folder_that_is_made_for_the_output(folder: Path, cli: RunCli) -> None:
    assert cli("mask", "in.jsonl", "-o", "build/d", "--depfile", "build/d.mk", "-q").code == 0
    assert (folder / "build" / "d.mk").read_text().startswith("build/d/manifest.json: in.jsonl")


@pytest.mark.parametrize("share", [math.nan, math.inf, -math.inf, 0.0, 1.0])
def test_shares_that_are_none(folder: Path, share: float) -> None:
    with pytest.raises(UsageError, match="--validation can't be"):
        ifttool.mask("in.jsonl", "d", validation=share)
    (folder / "r.toml").write_text(f'inputs = "in.jsonl"\noutput = "d"\nvalidation = {share}')
    with pytest.raises(UsageError, match="--validation can't be"):
        ifttool.run("r.toml")
    assert not (folder / "d").exists()


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        ("length = 0", r"\[pack\]: --length can't be 0"),
        ('layout = "zz"', r"\[pack\]: --layout can't be 'zz'"),
        ("window = -1", r"\[pack\]: --window can't be -1"),
        ("shards = 0", r"\[pack\]: --shards can't be 0"),
        ("seed = -1", r"\[pack\]: --seed can't be -1"),
        ('overlong = "zz"', r"\[pack\]: --overlong can't be 'zz'"),
        ('output = "d"', "hold each other"),
        ('output = "d/packed"', "hold each other"),
        ('output = "."', "hold each other"),
        ('output = "p.parquet"', "is a file's name"),
        ('output = "full"', "isn't empty"),
        ('output = "t.jinja"', "is a file; the output is a folder"),
        ("", "pack.length is missing"),
    ],
)
def test_packing_is_checked_before_the_run(folder: Path, pack: str, message: str) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("x")
    keys = {"output": '"p"', **({"length": "64"} if pack else {})}
    if pack:
        name, value = pack.split(" = ")
        keys[name] = value
    table = "\n".join(f"{name} = {value}" for name, value in keys.items())
    (folder / "r.toml").write_text(f'inputs = "in.jsonl"\noutput = "d"\n[pack]\n{table}\n')
    before = files(folder)
    with pytest.raises(UsageError, match=message):
        ifttool.run("r.toml")
    assert files(folder) == before
    assert not (folder / "d").exists()


def test_depfiles_of_recipes_are_checked_before_the_run(folder: Path) -> None:
    (folder / "r.toml").write_text('inputs = "in.jsonl"\noutput = "d"\n[pack]\noutput = "p"\nlength = 64\n')
    before = files(folder)
    for depfile, message in [
        ("r.toml", "written over r.toml"),
        ("d/x.mk", "lies in the output"),
        ("p/x.mk", "lies in the output"),
        ("in.jsonl", "which is read"),
    ]:
        with pytest.raises(UsageError, match=message):
            ifttool.run("r.toml", depfile=depfile)
    assert files(folder) == before


@pytest.mark.parametrize("step", ["mask", "pack"])
def test_a_full_disk_leaves_no_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    ifttool.mask("in.jsonl", "whole", workers=1)
    work: dict[str, Callable[[], Any]] = {
        "mask": lambda: ifttool.mask("in.jsonl", "d", workers=1),
        "pack": lambda: ifttool.pack("whole", "d", length=64),
    }
    sync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().parent.name == "tokenizer":
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("ifttool.io.atomic.os.fsync", full)
        with pytest.raises(RunError, match=r"can't write d/tokenizer/\w+\.\w+: No space left on device"):
            work[step]()
    assert files(folder / "d") == {}
    work[step]()
    assert (folder / "d" / "manifest.json").is_file()


def test_packs_that_nothing_fits_into(folder: Path, cli: RunCli) -> None:
    ifttool.mask(SAMPLES / "chat.jsonl", "d", template="chatml", workers=1)
    done = cli("pack", "d", "-o", "p", "--length", "2")
    assert done.code == 0
    assert "train: no packs: nothing fits into 2 tokens" in done.err
    assert "100.00%" not in done.err + (folder / "p" / "README.md").read_text()
