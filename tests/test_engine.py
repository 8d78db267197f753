"""Worker processes that die: what is lost is found again, who is to blame is named, and nobody is left behind."""

import functools
import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Literal

import pytest

import ifttool
from helpers import SAMPLES, TINY, chat, command, environment, jsonl, read_provenance, read_shards
from ifttool import pipeline
from ifttool.errors import RunError
from ifttool.io.source import MAX_LINE_BYTES, SkippedLine
from ifttool.records import RawRow
from ifttool.split import Split, read_splits

Death = Literal["always", "once", "together"]
Arm = Callable[[Death], list[Path]]

SPLITS = 2
"""One for each worker: fewer would be processed without any."""


@dataclass(frozen=True, slots=True)
class DeadlySplit(Split):
    """A split whose worker is killed when it comes to a row that says POISON, with rows before it done.

    Attributes:
        dies: ``always``; ``once``; or ``together`` with any other row, as from a lack of memory.
        marker: A file that the first death removes.
    """

    dies: Death = "always"
    marker: Path = field(default_factory=Path)

    def rows(self) -> Iterator[RawRow | SkippedLine]:
        rows = list(Split.rows(self))
        for row in rows:
            if parent_process() is not None and isinstance(row, RawRow) and b"POISON" in row.data and self._dies(rows):
                os.kill(os.getpid(), signal.SIGKILL)
            yield row

    def _dies(self, rows: list[RawRow | SkippedLine]) -> bool:
        if self.dies == "once":
            is_first = self.marker.exists()
            self.marker.unlink(missing_ok=True)
            return is_first
        return self.dies == "always" or len(rows) > 1


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Two inputs, one with poison in its middle, whose splits kill as they are told to."""
    sources = [tmp_path / "clean.jsonl", tmp_path / "poison.jsonl"]
    sources[0].write_bytes(jsonl(TINY, TINY))
    sources[1].write_bytes(jsonl(chat("Hi", "One"), chat("Hi", "Two POISON"), chat("Hi", "Three", id="last")))

    def arm(dies: Death) -> list[Path]:
        marker = tmp_path / "marker"
        marker.touch()

        def armed(*args: Any, **options: Any) -> Iterator[Split]:
            for split in read_splits(*args, **options):
                yield DeadlySplit(split.index, split.source, split.part, split.items, dies=dies, marker=marker)

        monkeypatch.setattr(pipeline, "read_splits", armed)
        return sources

    return arm


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but the manifest, which names inputs and the time."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("manifest.json", None)
    return found


def test_a_killed_worker_is_replaced(tmp_path: Path, deadly: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = deadly("once")
    summary = ifttool.mask(sources, tmp_path / "out", workers=SPLITS, date="2026-01-31")
    assert not (tmp_path / "marker").exists()
    assert summary.committed
    assert summary.tally.total.rejected == {}
    monkeypatch.setattr(pipeline, "read_splits", read_splits)
    ifttool.mask(sources, tmp_path / "calm", workers=1, date="2026-01-31")
    # No half-written part of the dead worker either.
    assert contents(tmp_path / "out") == contents(tmp_path / "calm")


def test_a_row_that_kills_is_found_and_rejected(tmp_path: Path, deadly: Arm) -> None:
    sources = deadly("always")
    summary = ifttool.mask(sources, tmp_path / "out", workers=SPLITS, max_rejects=1)
    assert summary.committed
    assert summary.tally.total.rejected == {"IFT405": 1}
    assert summary.tally.total.kept == 4
    assert [(row["source"], row["line"]) for row in read_provenance(tmp_path / "out")] == [
        (str(sources[0]), 1),
        (str(sources[0]), 2),
        (str(sources[1]), 1),
        (str(sources[1]), 3),
    ]
    assert len(read_shards(tmp_path / "out")) == 4
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text()
    assert '"line": 2' in rejects
    assert '"code": "IFT405"' in rejects
    assert not [name for name in contents(tmp_path / "out") if name.endswith(".tmp")]


def test_a_death_that_no_row_causes_ends_the_run(tmp_path: Path, deadly: Arm) -> None:
    with pytest.raises(RunError) as raised:
        ifttool.mask(deadly("together"), tmp_path / "out", workers=SPLITS)
    assert raised.value.message == "a worker died while it wrote a shard, but on no single row"
    assert raised.value.hint == "this is often a lack of memory: try fewer --workers"
    assert contents(tmp_path / "out") == {}


# --- parents that go away -----------------------------------------------------------------------------------


def children(process: int) -> set[int]:
    """The processes that a process started, and theirs."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process and state != "Z":
            found.add(int(path.parent.name))
    return found.union(*(children(child) for child in found))


def alive(processes: set[int]) -> set[int]:
    """Those that still run."""
    states = {process: Path(f"/proc/{process}/stat") for process in processes}
    return {
        process
        for process, path in states.items()
        if path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"
    }


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run with two workers at work on an input that takes them a while, in a process group of its own."""
    with (tmp_path / "large.jsonl").open("wb") as file:
        lines = (SAMPLES / "chat.jsonl").read_bytes()
        while file.tell() < 66_000_000:
            file.write(lines * 500)
    process = subprocess.Popen(
        command("mask", "large.jsonl", "-o", "out", "--workers", SPLITS),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where tests run in the background, the shell has switched it off.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
    )
    with process:
        yield process
        if process.poll() is None:
            process.kill()


def are_working(folder: Path) -> bool:
    """Whether both workers write their parts."""
    return len(list((folder / "out" / "provenance").glob(".ifttool-*.tmp"))) >= 2 * SPLITS


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_die_with_their_parent(tmp_path: Path, busy: subprocess.Popen[str]) -> None:
    assert wait_until(lambda: are_working(tmp_path), 60)
    family = children(busy.pid)
    assert len(family) >= SPLITS
    busy.kill()
    busy.wait()
    assert wait_until(lambda: not alive(family), 5)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [("starting", signal.SIGINT, 130), ("working", signal.SIGINT, 130), ("working", signal.SIGTERM, 143)],
)
def test_interrupted_with_workers(
    tmp_path: Path, busy: subprocess.Popen[str], moment: str, number: signal.Signals, code: int
) -> None:
    if moment == "working":
        assert wait_until(lambda: are_working(tmp_path), 60)
    else:
        assert wait_until(lambda: len(children(busy.pid)) >= SPLITS, 60)
    family = children(busy.pid)
    os.killpg(busy.pid, number)  # as a terminal does
    _, err = busy.communicate(timeout=30)
    assert (busy.returncode, err) == (code, f"ifttool: {'interrupted' if code == 130 else 'terminated'}\n")
    assert wait_until(lambda: not alive(family), 5)
    assert contents(tmp_path).keys() == {"large.jsonl"}


# --- rows that are large, or were refused before a worker saw them ------------------------------------------


def test_refused_lines_of_a_stream_reach_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "read_splits", functools.partial(read_splits, split_bytes=100))
    rows = gzip.compress(jsonl(TINY) + b"x" * (MAX_LINE_BYTES + 1) + b"\n" + jsonl(TINY, TINY))
    (tmp_path / "rows.jsonl.gz").write_bytes(rows)
    summary = ifttool.mask(tmp_path / "rows.jsonl.gz", tmp_path / "out", workers=SPLITS, max_rejects=1)
    assert summary.tally.total.rejected == {"IFT106": 1}
    assert summary.tally.total.kept == 3


def test_a_huge_row_breaks_nothing(tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("wb") as file:
        file.write(jsonl(TINY, chat("Hi", "word " * 500_000)))
        file.write(b'{"messages":[{"role":"user","content":"' + b"x" * 100_000_000 + b'"}]}\n')
        file.write(jsonl(TINY))
    summary = ifttool.mask(tmp_path / "rows.jsonl", tmp_path / "out", workers=1, max_rejects=1)
    assert summary.tally.total.rejected == {"IFT106": 1}
    assert summary.tally.total.kept == 3
    assert summary.tally.tokens > 500_000


# --- scripts ------------------------------------------------------------------------------------------------


SCRIPT = f"""
import functools, sys
import ifttool
from ifttool import pipeline
pipeline.read_splits = functools.partial(pipeline.read_splits, split_bytes=300)
print("started", __name__)
summary = ifttool.mask({str(SAMPLES / "chat.jsonl")!r}, "out", workers=2)
print(summary.tally.samples, __spec__ is None or __spec__.name, sys.modules["__main__"].__file__ == __file__)
"""


@pytest.mark.parametrize(("how", "spec"), [(["script.py"], "True"), (["-m", "script"], "script")])
def test_scripts_need_no_guard(tmp_path: Path, how: list[str], spec: str) -> None:
    """Workers don't run the caller's script, which would start workers of its own."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *how], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"started __main__\n11 {spec} True\n"
    assert len(list((tmp_path / "out" / "data").iterdir())) > 1


def test_programs_that_are_no_file(tmp_path: Path) -> None:
    script = SCRIPT[: SCRIPT.index("print(summary")] + "print(summary.tally.samples, globals().get('__file__'))\n"
    for arguments, file in ((["-"], "<stdin>"), (["-c", script], "None")):
        done = subprocess.run(
            [sys.executable, *arguments],
            input=script,
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", f"started __main__\n11 {file}\n")
        shutil.rmtree(tmp_path / "out")
