"""A run that was killed at any point and then resumed ends with the bytes of one that wasn't."""

import functools
import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ifttool
from helpers import RunCli, chat, environment, jsonl
from ifttool import pipeline
from ifttool.errors import RunError, UsageError
from ifttool.io.atomic import JOURNAL
from ifttool.running import journal

ROWS = [chat(f"Count to {n}.", " ".join(map(str, range(1, n + 1))), id=f"row-{n}") for n in range(1, 41)]
SPLIT_BYTES = 700
OPTIONS: dict[str, Any] = {"date": "2026-01-31", "max_rejects": 5}
ARRANGED = {**OPTIONS, "shuffle": 3, "validation": 0.2, "dedup": "exact", "shard_tokens": 700}

# Kills itself just before the n-th call of a function: `child.py OPTIONS WORKERS FUNCTION N`.
CHILD = f"""
import functools, importlib, json, os, signal, sys
import ifttool
from ifttool import pipeline
pipeline.read_splits = functools.partial(pipeline.read_splits, split_bytes={SPLIT_BYTES})
options, workers, function, left = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [int(sys.argv[4])]
module, _, names = function.partition(":")
*owners, name = names.split(".")
owner = functools.reduce(getattr, owners, importlib.import_module(module))
whole = getattr(owner, name)
def deadly(*args, **kwargs):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)
setattr(owner, name, deadly)
ifttool.mask(["a.jsonl", "b.jsonl.gz"], "out", workers=workers, **options)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "read_splits", functools.partial(pipeline.read_splits, split_bytes=SPLIT_BYTES))
    (tmp_path / "a.jsonl").write_bytes(jsonl(*ROWS[:25]) + b"{]\n\n" + jsonl(ROWS[3]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(jsonl(*ROWS[25:], ROWS[1]) + b"[1]\n", mtime=0))
    return tmp_path


def mask(output: str = "out", **options: Any) -> Any:
    return ifttool.mask(["a.jsonl", "b.jsonl.gz"], output, **{**OPTIONS, "workers": 1, **options})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed(folder: Path, function: str, count: int, *, workers: int = 1, **options: Any) -> bool:
    """Run until the given call; says whether it got there."""
    arguments = [json.dumps({**OPTIONS, **options}), str(workers), function, str(count)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], cwd=folder, env=environment(), capture_output=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == -signal.SIGKILL


JOURNAL_ADD = "ifttool.running.journal:Journal.add"
POINTS = [
    ("ifttool.pipeline:Journal", 1),
    ("ifttool.running.journal:Journal._write", 5),
    ("ifttool.split:ShardWriter.info", 3),
    ("ifttool.pipeline:join_rejects", 1),
    ("ifttool.output:FolderSink.finish", 1),
    ("pathlib:Path.replace", 20),
    ("ifttool.output:FolderSink.write_tokenizer", 1),
    ("ifttool.output:FolderSink.write_manifest", 1),
    ("ifttool.running.journal:Journal.remove", 1),
]
ARRANGED_POINTS = [
    ("ifttool.arranging.phase:resolve_survey", 1),
    (JOURNAL_ADD, 5),
    ("ifttool.arranging.phase:arrange", 1),
    ("ifttool.output:FolderSink.place", 1),
]


@pytest.mark.parametrize(
    ("function", "count", "options"),
    [*((*point, OPTIONS) for point in POINTS), *((*point, ARRANGED) for point in ARRANGED_POINTS)],
)
def test_killed_and_resumed(folder: Path, function: str, count: int, options: dict[str, Any]) -> None:
    summary = mask("whole", **options)
    assert killed(folder, function, count, **options)
    resumed = mask(resume=True, **options)
    assert files(folder / "out") == files(folder / "whole")
    # How rows were rendered is told of those that this run rendered itself.
    told = {"rejects": "out/rejects.jsonl", "renders": resumed.as_json()["renders"]}
    assert resumed.as_json() == {**summary.as_json(), **told}


def test_killed_again_and_again(folder: Path) -> None:
    mask("whole")
    assert killed(folder, JOURNAL_ADD, 3)
    assert killed(folder, JOURNAL_ADD, 3, resume=True)
    assert killed(folder, "ifttool.output:FolderSink.write_manifest", 1, resume=True, workers=2)
    mask(resume=True)
    assert files(folder / "out") == files(folder / "whole")


def test_killed_at_any_time(folder: Path) -> None:
    """Workers and all, by the clock."""
    mask("whole")
    code = CHILD.replace("left[0] -= 1", "pass")
    for wait in (0.3, 0.7, 1.0):
        program = [sys.executable, "-c", code, '{"date": "2026-01-31", "max_rejects": 5, "resume": true}']
        child = subprocess.Popen([*program, "2", JOURNAL_ADD, "1"], cwd=folder, env=environment())
        time.sleep(wait)
        child.kill()
        child.wait()
    mask(resume=True)
    assert files(folder / "out") == files(folder / "whole")


def test_whole_parts_are_used_and_damaged_ones_arent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask("whole")
    assert killed(folder, JOURNAL_ADD, 6)
    entries = journal._lines(folder / "out" / JOURNAL)
    assert next(line["input"] for line in entries if "input" in line) == "a.jsonl"
    kept = [line for line in entries if "split" in line]
    assert len(kept) == 5
    first = folder / "out" / next(iter(kept[0]["files"]))
    first.write_bytes(first.read_bytes()[:-1])
    # The last line of a journal may be cut off.
    with (folder / "out" / JOURNAL).open("ab") as file:
        file.write(b'{"split": ')
    worked = []
    process = pipeline.Task.run

    def watch(task: Any, *rest: Any) -> Any:
        worked.append(task.split.index)
        return process(task, *rest)

    monkeypatch.setattr(pipeline.Task, "run", watch)
    mask(resume=True, workers=1)
    assert worked[0] == 0
    assert not {1, 2, 3, 4} & set(worked)
    assert files(folder / "out") == files(folder / "whole")


def test_a_journal_that_was_cut_off_at_once(folder: Path) -> None:
    mask("whole")
    (folder / "out").mkdir()
    (folder / "out" / JOURNAL).write_bytes(b'{"key": {"ver')
    assert killed(folder, JOURNAL_ADD, 3, resume=True)
    mask(resume=True)
    assert files(folder / "out") == files(folder / "whole")


def test_inputs_without_rows(folder: Path) -> None:
    (folder / "empty.jsonl").touch()
    assert ifttool.mask("empty.jsonl", "none", resume=True).committed
    assert ifttool.mask("empty.jsonl", "none", resume=True).tally.samples == 0


def test_differences_are_listed(folder: Path, cli: RunCli) -> None:
    assert killed(folder, JOURNAL_ADD, 4)
    before = files(folder / "out")
    done = cli("mask", "a.jsonl", "-o", "out", "--max-length", 99, "--date", "2026-01-31", "--resume")
    assert done.code == 2
    for part in (
        "out was begun by another run: ",
        "recipe.max_length was null, is 99",
        "options.max_rejects.count was 5, is 0",
        'inputs was ["a.jsonl", "b.jsonl.gz"], is ["a.jsonl"]',
    ):
        assert part in done.err
    (folder / "a.jsonl").write_bytes(jsonl(*ROWS))
    with pytest.raises(UsageError, match=r"a\.jsonl has changed"):
        mask(resume=True)
    assert files(folder / "out") == before
    with pytest.raises(UsageError, match="isn't empty"):
        mask()
    mask(force=True)
    assert ".ifttool-journal.tmp" not in files(folder / "out")


READERS = [
    ("show", "out"),
    ("stats", "out"),
    ("pack", "out", "-o", "packed", "--length", 64),
    ("verify", "out"),
    ("export", "out", "--to", "messages", "-o", "exported"),
]
"""Commands that look for shards in ``out``."""


def test_an_interrupted_run_is_known_for_one(folder: Path, cli: RunCli) -> None:
    assert killed(folder, JOURNAL_ADD, 3)
    again = cli("mask", "a.jsonl", "-o", "out")
    assert again.code == 2
    assert "the output folder out isn't empty\n  hint: a run was interrupted there: the same command with --resume" in (
        again.err
    )
    for arguments in READERS:
        done = cli(*arguments)
        assert done.code == 2
        assert "error: there are no finished shards in out: the run that writes them was interrupted" in done.err
        assert "--resume" in done.err


def test_a_refused_run_is_known_for_one(folder: Path, cli: RunCli) -> None:
    (folder / "a.jsonl").write_bytes(b"{}\n")
    assert cli("mask", "a.jsonl", "-o", "out").code == 1
    for arguments in READERS:
        done = cli(*arguments)
        assert done.code == 2
        assert "error: there are no finished shards in out, just a list of rejected rows\n" in done.err
        assert "--max-rejects allows writes no shards; out/rejects.jsonl says" in done.err


def test_a_finished_run_is_left_alone(folder: Path) -> None:
    summary = mask(resume=True)
    times = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*")}
    assert mask(resume=True) == summary
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*")} == times
    with pytest.raises(UsageError, match=r"recipe\.max_length was null, is 50"):
        mask(resume=True, max_length=50)
    (folder / "a.jsonl").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a\.jsonl has changed"):
        mask(resume=True)


def test_errors_and_signals_leave_parts_to_resume(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask("whole")

    def full(*_: Any, **__: Any) -> None:
        raise RunError("the disk is full")

    for resume in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline.FolderSink, "finish", full)
            with pytest.raises(RunError):
                mask(resume=resume)
        left = {name for name in files(folder / "out") if name.startswith("data/")}
        assert bool(left) == resume
    mask(resume=True)
    assert files(folder / "out") == files(folder / "whole")


def test_what_cant_be_resumed(folder: Path, cli: RunCli) -> None:
    for arguments, message in (
        (("-o", "x.parquet", "--resume"), "--resume needs a folder"),
        (("-o", "x", "--resume", "--force"), "exclude each other"),
    ):
        done = cli("mask", "a.jsonl", *arguments)
        assert (done.code, message in done.err) == (2, True)
    (folder / "file").touch()
    assert cli("mask", "a.jsonl", "-o", "file", "--resume").code == 2
    (folder / "foreign").mkdir()
    (folder / "foreign" / "notes.txt").touch()
    assert cli("mask", "a.jsonl", "-o", "foreign", "--resume").code == 2
    # What is read from a stream is done again; nothing of it is in the journal.
    with (folder / "a.jsonl").open("rb") as stdin:
        summary = ifttool.mask("-", "streamed", stdin=stdin, resume=True, **OPTIONS)
    assert summary.committed


def test_too_many_rejects_leave_nothing_to_resume(folder: Path) -> None:
    assert not mask(max_rejects=0, resume=True).committed
    assert [path.name for path in (folder / "out").iterdir()] == ["rejects.jsonl"]
    assert mask(resume=True).committed


def test_chains_are_resumed(folder: Path) -> None:
    recipe = Path("recipe.toml")
    recipe.write_text(
        'inputs = ["a.jsonl", "b.jsonl.gz"]\noutput = "out"\ndate = "2026-01-31"\nmax-rejects = 5\n'
        '[pack]\noutput = "packed"\nlength = 300\n'
    )
    ifttool.run(recipe)
    whole = files(folder / "out") | files(folder / "packed")
    (folder / "packed" / "manifest.json").unlink()
    shutil.rmtree(folder / "out")
    assert killed(folder, JOURNAL_ADD, 4)
    assert ifttool.run(recipe, resume=True).packed is not None
    assert files(folder / "out") | files(folder / "packed") == whole
