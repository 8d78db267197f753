"""Splits over processes: the same function, the same bytes, on one core or many.

Standard pools either hang when a worker is killed or leave orphans when the parent is. Here each worker has a pipe of
its own; the parent waits for pipes and for deaths at once, and a thread in every worker ends it with its parent.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from ifttool.errors import RowError, RunError, UsageError
from ifttool.hands import Hand, Job, Outcome, copies
from ifttool.io.source import SkippedLine
from ifttool.records import RawRow
from ifttool.split import PartPaths, SplitResult, process_split
from ifttool.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

# Finding one row among the thousands of a split takes about 15 deaths; with too little memory every part of it dies.
_MOST_DEATHS = 100
_MEMORY = "this is often a lack of memory: try fewer --workers"


@dataclass(frozen=True, slots=True)
class Task(Job[SplitResult]):
    """A split, where its part goes, and the schema of that."""

    paths: PartPaths
    schema: "pa.Schema"

    def run(self, worker: "Callable[[], Worker]") -> SplitResult:
        return process_split(self.split, worker(), self.paths, schema=self.schema)


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def number_of_workers(given: int | None) -> int:
    """How many processes are asked for; None stands for all cores.

    Raises:
        UsageError: It isn't a number of processes.
    """
    if given is None:
        return default_workers()
    if not isinstance(given, int) or given < 1:
        raise UsageError(f"--workers can't be {given!r}", hint="give 1 or more")
    return given


class Crew:
    """Worker processes for the splits of one run. Use as a context manager; leaving it ends them.

    Copies of this process start at once, since other threads of the run would forbid it; others when they're needed.

    Args:
        worker: The worker of this process. What it has learnt by now, the others know where they are copies.
        size: How many processes; with one, everything happens here.
    """

    def __init__(self, worker: Worker, size: int) -> None:
        self._worker, self._size = worker, size
        worker.has_spare_core = size == 1 and default_workers() > 1
        self._busy: list[Hand] = []
        self._idle: list[Hand] = []
        self._prober: Hand | None = None
        self._deaths = 0

    def __enter__(self) -> "Crew":
        try:
            for hand in copies(self._worker, self._size if self._size > 1 else 0):
                self._idle.append(hand)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        hands = (*self._busy, *self._idle, *([self._prober] if self._prober else ()))
        for hand in hands:
            hand.process.kill()  # all of them before waiting for the first: the output is cleared away next
        for hand in hands:
            hand.dismiss()

    def work(self, tasks: Iterable[Job[Outcome]]) -> Iterator[tuple[Job[Outcome], Outcome]]:
        """Process splits; results come as they are ready.

        Args:
            tasks: The splits, read as they are needed.

        Raises:
            RunError: Writing failed in a worker.
            IfttoolError: Whatever reading the input raises.
        """
        if self._size > 1:
            yield from self._spread(iter(tasks))
            return
        for task in tasks:
            yield task, task.run(lambda: self._worker)

    def _spread(self, tasks: Iterator[Job[Outcome]]) -> Iterator[tuple[Job[Outcome], Outcome]]:
        """Keep every worker busy; a split whose worker dies is tried once more, then taken apart."""
        exhausted = False
        while True:
            while not exhausted and len(self._busy) < self._size:
                task = next(tasks, None)
                if task is None:
                    exhausted = True
                else:
                    self._assign(task)
            if not self._busy:
                return
            for hand in self._ready():
                task = hand.task
                result = hand.result()
                self._release(hand, died=result is None)
                if result is None:
                    result = self._once_more(task)
                yield task, result

    def _once_more(self, task: Job[Outcome]) -> Outcome:
        """Run a split again whose worker died; if it dies again, find the rows that kill it and reject them."""
        result = self._run_alone(task)
        if result is not None:
            return result
        rows = list(task.split.rows())
        poison = set(self._poison(task, rows, list(range(len(rows)))))
        if not poison:
            raise RunError("a worker died while it wrote a shard, but on no single row", hint=_MEMORY)
        items = [
            _rejected(item) if index in poison and isinstance(item, RawRow) else item for index, item in enumerate(rows)
        ]
        result = self._run_alone(replace(task, split=replace(task.split, part=None, items=items)))
        if result is None:
            raise RunError("a worker died again after the rows that killed it were taken out")
        return result

    def _poison(self, task: Job[Any], rows: Sequence[RawRow | SkippedLine], indices: list[int]) -> Iterator[int]:
        """Which rows kill a worker on their own, by halving; together these do."""
        if len(indices) == 1:
            yield indices[0]
            return
        middle = len(indices) // 2
        for half in (indices[:middle], indices[middle:]):
            part = replace(task.split, part=None, items=[rows[index] for index in half])
            if half and self._run_alone(replace(task, split=part)) is None:
                yield from self._poison(task, rows, half)

    def _assign(self, task: Job[Any]) -> None:
        hand = self._idle.pop() if self._idle else Hand(self._worker)
        hand.give(task)
        self._busy.append(hand)

    def _ready(self) -> list[Hand]:
        """Wait until a worker has answered or died."""
        handles = {handle: hand for hand in self._busy for handle in hand.handles}
        return list(dict.fromkeys(handles[handle] for handle in wait(list(handles))))  # type: ignore[index]

    def _release(self, hand: Hand, *, died: bool) -> None:
        self._busy.remove(hand)
        if died:
            hand.dismiss()
        else:
            self._idle.append(hand)

    def _run_alone(self, task: Job[Outcome]) -> Outcome | None:
        """One task in a process that has no other; None if that dies.

        Raises:
            RunError: Processes died so often that no row can be the reason.
        """
        hand = self._prober or Hand(self._worker)
        self._prober = None
        result: Outcome | None = None
        try:
            hand.give(task)
            wait(list(hand.handles))
            result = hand.result()
        finally:
            if result is None:
                hand.dismiss()
        if result is not None:
            self._prober = hand
            return result
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise RunError(f"{_MOST_DEATHS} workers died one after the other", hint=_MEMORY)
        return None


def _rejected(row: RawRow) -> SkippedLine:
    return SkippedLine(row.place, RowError("IFT405", "the row killed every process that worked on it"))
