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
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Literal

import pytest

import ifttool
from helpers import SAMPLES, TINY, chat, command, environment, jsonl, read_provenance, read_shards, run_python
from ifttool import hands, pipeline
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


def is_copy(process: int, parent: int) -> bool:
    """Whether a process runs the program of its parent; one that starts anew has a command line of its own."""
    programs = [Path(f"/proc/{number}/cmdline").read_bytes() for number in (process, parent)]
    return programs[0] == programs[1]


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


needs_forks = pytest.mark.skipif(sys.platform != "linux", reason="workers are copies on Linux alone")
NO_FORKS = "import ifttool.hands; ifttool.hands._can_fork = lambda: False; from ifttool.cli.app import app; app()"


@pytest.fixture(params=[pytest.param("copies", marks=needs_forks), "anew"])
def busy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A run with two workers at work on an input that takes them a while, in a process group of its own."""
    arguments = command("mask", "large.jsonl", "-o", "out", "--workers", SPLITS)
    if request.param == "anew":
        arguments[arguments.index("-m") : arguments.index("mask")] = ["-c", NO_FORKS]
    with (tmp_path / "large.jsonl").open("wb") as file:
        lines = (SAMPLES / "chat.jsonl").read_bytes()
        while file.tell() < 66_000_000:
            file.write(lines * 500)
    process = subprocess.Popen(
        arguments,
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
def test_workers_die_with_their_parent(
    tmp_path: Path, busy: subprocess.Popen[str], request: pytest.FixtureRequest
) -> None:
    assert wait_until(lambda: are_working(tmp_path), 60)
    family = children(busy.pid)
    assert len(family) >= SPLITS
    assert {is_copy(process, busy.pid) for process in family} == {request.node.callspec.params["busy"] == "copies"}
    busy.kill()
    busy.wait()
    assert wait_until(lambda: not alive(family), 5)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert busy.stderr is not None
    assert busy.stderr.read() == ""


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


# --- copies of the parent, and workers that start anew -------------------------------------------------------

PRELUDE = f"""
import functools, json, os, signal, sys, threading, time
from multiprocessing import parent_process
from pathlib import Path
import ifttool
from ifttool import engine, hands, pipeline
from ifttool.errors import RunError
SAMPLES = Path({str(SAMPLES)!r})
pipeline.read_splits = functools.partial(pipeline.read_splits, split_bytes=700)
started = []
begin = hands.Hand.__init__
def watched(self, worker):
    begin(self, worker)
    started.append(self.process)
hands.Hand.__init__ = watched
def kinds():
    return [type(process).__name__ for process in started]
def mask(out, **options):
    started.clear()
    return ifttool.mask(SAMPLES / "chat.jsonl", out, date="2026-01-31", **{{"workers": 2, **options}})
def in_workers(change):
    whole = engine.process_split
    def changed(split, *args, **options):
        if parent_process() is not None:
            change(split)
        return whole(split, *args, **options)
    engine.process_split = changed
"""
"""Starts of workers are watched, and what copies of this process do can be changed. Splits are some rows each."""


@needs_forks
def test_the_same_bytes_from_copies_from_processes_that_start_anew_and_from_one(tmp_path: Path) -> None:
    script = """
mask("copies")
assert kinds() == ["ForkProcess"] * 2, kinds()
mask("crowd", workers=100)
assert kinds() == ["ForkProcess"] * len(list(Path("crowd/data").glob("train-*"))), "no more than there are splits"
hands._can_fork = lambda: False
mask("anew")
assert kinds() == ["SpawnProcess"] * 2, kinds()
mask("many", workers=100)
assert len(kinds()) == len(list(Path("many/data").iterdir())), "those that are needed, no more"
mask("one", workers=1)
assert kinds() == []
"""
    run_python(PRELUDE + script, cwd=tmp_path)
    expected = contents(tmp_path / "one")
    assert len([name for name in expected if name.startswith("data/")]) > SPLITS
    assert [contents(tmp_path / name) == expected for name in ("copies", "crowd", "anew", "many")] == [True] * 4


@needs_forks
def test_when_a_copy_can_work(tmp_path: Path) -> None:
    script = """
found = [hands._can_fork()]
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
found.append(hands._can_fork())
stop.set()
thread.join()
found.append(hands._can_fork())
from ifttool.tokenizer.flat import flat_encoder
from ifttool.tokenizer.load import load_tokenizer
flat_encoder(load_tokenizer("default"), "tokenizers").encode(["Hello"] * 100)
found.append(hands._can_fork())
flat_encoder(load_tokenizer("default"), "fastokens").encode(["Hello"])
print(*found, hands._can_fork())
"""
    assert run_python(PRELUDE + script, cwd=tmp_path) == "True False True True False\n"


def test_no_copies_where_threads_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr(hands, "_thread_names", lambda: iter([b"python\n", b"\xff\n"]))
    assert hands._can_fork() is (sys.platform == "linux")
    monkeypatch.setattr(hands, "_thread_names", lambda: iter(()))
    assert not hands._can_fork()


@needs_forks
def test_copies_that_are_killed_are_replaced_by_processes_that_start_anew(tmp_path: Path) -> None:
    """The run has a thread of its own by then, which computes digests."""
    script = """
in_workers(lambda split: os.kill(os.getpid(), signal.SIGKILL))
summary = mask("out")
assert kinds()[:2] == ["ForkProcess"] * 2
assert set(kinds()[2:]) == {"SpawnProcess"}
assert [process.exitcode for process in started[:2]] == [-signal.SIGKILL] * 2
assert summary.tally.total.rejected == {}
mask("calm", workers=1)
"""
    run_python(PRELUDE + script, cwd=tmp_path)
    assert contents(tmp_path / "out") == contents(tmp_path / "calm")


@needs_forks
@pytest.mark.parametrize(("wanted", "expected"), [(None, ["False"] * 6), ("2", ["True"] * 6)])
def test_encoders_of_workers_have_one_thread_each(tmp_path: Path, wanted: str | None, expected: list[str]) -> None:
    pytest.importorskip("fastokens")
    script = """
file = Path("in.jsonl")
row = json.dumps({"messages": [{"role": "user", "content": "So many words. " * 3000}, {"role": "assistant", "content": "a"}]})
file.write_text((row + "\\n") * 40)
pipeline.read_splits = functools.partial(pipeline.read_splits, split_bytes=1_000_000)
whole = engine.process_split
def watched(split, *args, **options):
    result = whole(split, *args, **options)
    names = b"".join(hands._thread_names())
    Path(f"threads-{split.index}").write_text(str(b"fastokens" in names))
    return result
engine.process_split = watched
ifttool.mask(file, "out", workers=2, date="2026-01-31")
print(*[path.read_text() for path in sorted(Path().glob("threads-*"))])
"""
    env = {} if wanted is None else {"FASTOKENS_BPE_THREADS": wanted}
    assert run_python(PRELUDE + script, cwd=tmp_path, **env).split() == expected


def test_errors_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    script = """
from ifttool.errors import InputChanged, UsageError
for workers in (1, 2):
    for kind in (UsageError, InputChanged):
        def broken(split):
            raise kind("no such thing", hint="look again")
        engine.process_split, whole = lambda split, *args, **options: broken(split), engine.process_split
        try:
            mask("out", workers=workers)
        except Exception as error:
            print(type(error).__name__, error.exit_code, error.message, error.hint)
        engine.process_split = whole
"""
    lines = ["UsageError 2 no such thing look again", "InputChanged 3 no such thing look again"]
    assert run_python(PRELUDE + script, cwd=tmp_path).splitlines() == lines * 2


@needs_forks
def test_a_worker_that_hears_nothing_ends_with_the_run(tmp_path: Path) -> None:
    script = """
def stuck_or_broken(split):
    if split.index == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(1000)
    raise RunError("no space left")
in_workers(stuck_or_broken)
try:
    mask("out")
except RunError as error:
    print(error.message, kinds(), [process.exitcode for process in started])
"""
    out = run_python(PRELUDE + script, cwd=tmp_path)
    assert out == "no space left ['ForkProcess', 'ForkProcess'] [-9, -9]\n"
    assert contents(tmp_path) == {}


@needs_forks
def test_copies_that_hang_die_with_their_parent(tmp_path: Path) -> None:
    script = """
in_workers(lambda split: (Path(f"hangs-{os.getpid()}").touch(), os.kill(os.getpid(), signal.SIGSTOP)))
mask("out")
"""
    with subprocess.Popen([sys.executable, "-P", "-c", PRELUDE + script], cwd=tmp_path, env=environment()) as process:
        assert wait_until(lambda: len(list(tmp_path.glob("hangs-*"))) == SPLITS, 60)
        family = children(process.pid)
        process.kill()
    try:
        assert len(family) == SPLITS
        assert wait_until(lambda: not alive(family), 5)
    finally:
        for hanging in alive(family):
            os.kill(hanging, signal.SIGKILL)


@needs_forks
def test_handlers_of_the_parent_do_not_run_in_copies(tmp_path: Path) -> None:
    """They would unwind the run there as well, and clear its output away."""
    script = """
def handler(number, _frame):
    Path(f"handled-{os.getpid()}").touch()
    raise SystemExit
signal.signal(signal.SIGTERM, handler)
signal.signal(signal.SIGINT, handler)
in_workers(lambda split: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM)])
mask("out")
print([process.exitcode == -signal.SIGTERM for process in started[:2]], list(Path().glob("handled-*")))
"""
    assert run_python(PRELUDE + script, cwd=tmp_path) == "[True, True] []\n"


@needs_forks
def test_copies_of_a_process_that_encoded_in_parallel(tmp_path: Path) -> None:
    """Calls into the pool of its threads, which copies don't have, would never return."""
    script = """
from tokenizers import Tokenizer
from ifttool.tokenizer.load import load_tokenizer
load_tokenizer("default").backend.encode_batch(["Hello world " * 50] * 1000)
print(mask("out", backend="tokenizers").tally.samples, *kinds())
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRELUDE + script],
        cwd=tmp_path,
        env=environment(TOKENIZERS_PARALLELISM="true"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("11 ForkProcess ForkProcess\n", "")


@needs_forks
def test_progress_on_a_terminal_leaves_workers_copies(tmp_path: Path) -> None:
    script = """
from ifttool.cli.app import app
sys.argv[1:] = ["mask", str(SAMPLES / "chat.jsonl"), "-o", "out", "--workers", "2"]
try:
    app()
finally:
    print(*kinds(), flush=True)
"""
    ours, theirs = os.openpty()
    environ = environment(TERM="xterm", COLUMNS="100")
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PRELUDE + script], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other side is closed
            while more := os.read(ours, 1 << 16):
                shown += more
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == b"ForkProcess ForkProcess\n"
    assert process.returncode == 0, shown
    assert b" MB/s  " in shown
    assert b"rejected" in shown
    assert b"wrote out" in shown
    assert (tmp_path / "out" / "manifest.json").exists()
