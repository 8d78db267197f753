"""Other programs, measured from start to finish: time of the whole process tree, and its memory over time."""

import compileall
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Tools that look for newer versions of themselves or their data would measure the network.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process tree at one moment, in bytes.

    Attributes:
        seconds: Since the start.
        tree: All processes together; pages they share count once (proportional set size).
        counted: The same, with shared pages counted once for each process (what `ps` adds up to).
        largest: The largest single process.
        processes: How many there were.
    """

    seconds: float
    tree: int
    counted: int
    largest: int
    processes: int


@dataclass(frozen=True, slots=True)
class Run:
    """One finished program.

    Attributes:
        wall: Seconds from start to end.
        cpu: User and system seconds of the program and of all its children.
        memory: Samples of its memory, if they were asked for.
    """

    wall: float
    cpu: float
    memory: tuple[Memory, ...] = ()


def compile_sources() -> None:
    """Compile the package and these scripts to byte code, as pip does with all that it installs.

    An editable install leaves that to the first run, and where writing byte code is forbidden
    (``PYTHONDONTWRITEBYTECODE``) each process would compile all of it anew, for 0.2 s.
    """
    for folder in ("ifttool", "benchmarks"):
        compileall.compile_dir(ROOT / folder, quiet=2)


def run(
    command: Sequence[object],
    *,
    extra: Mapping[str, str] | None = None,
    sample_every: float | None = None,
    on_one_core: bool = False,
) -> Run:
    """Run a program to its end.

    Args:
        command: Program and arguments.
        extra: Environment variables besides the present ones.
        sample_every: Seconds between samples of the tree's memory; None for none (Linux only).
        on_one_core: Whether it may use one core only (Linux only).

    Raises:
        RuntimeError: It failed; the message holds the end of what it said.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **_OFFLINE, **(extra or {})}
    words = [str(word) for word in command]
    os.sync()  # or one side's fsync waits for what another left to be written
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        if on_one_core:  # what it starts inherits this
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        sampler = _Sampler(process.pid, start, sample_every) if sample_every else None
        # wait4, since it alone tells the time of this child and its descendants apart from earlier children's.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        samples = sampler.stop() if sampler else ()
        if process.returncode != 0:
            said.seek(0)
            end = said.read()[-3000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}:\n{end}")
    return Run(wall, usage.ru_utime + usage.ru_stime, samples)


class _Sampler:
    """Reads the memory of a process tree in a thread until it is stopped."""

    def __init__(self, pid: int, start: float, every: float) -> None:
        self._pid, self._start, self._every = pid, start, every
        self._samples: list[Memory] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[Memory, ...]:
        self._ended.set()
        self._thread.join()
        return tuple(self._samples)

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            sizes = [size for size in map(_memory, _tree(self._pid)) if size[0]]
            if sizes:
                whole, proportional = zip(*sizes, strict=True)
                seconds = time.perf_counter() - self._start
                self._samples.append(Memory(seconds, sum(proportional), sum(whole), max(whole), len(sizes)))


def _tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        except OSError:  # it just ended
            continue
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of a process that are resident, and its share of them where pages are shared; 0 if it just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("Rss:", "Pss:"))}
    return sizes.get("Rss:", 0), sizes.get("Pss:", 0)
