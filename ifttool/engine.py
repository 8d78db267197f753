"""Splits over processes: the same function, the same bytes, on one core or many.

Standard pools either hang when a worker is killed or leave orphans when the parent is. Here each worker has a pipe of
its own; the parent waits for pipes and for deaths at once, and a thread in every worker ends it with its parent.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ifttool.errors import IfttoolError, RowError, RunError
from ifttool.io.source import SkippedLine
from ifttool.recipe import Recipe
from ifttool.records import RawRow
from ifttool.split import PartPaths, Split, SplitResult, process_split
from ifttool.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

_SPAWN = multiprocessing.get_context("spawn")  # a fork after the tokenizer ran can deadlock (reliability.md K17)

# Finding one row among the thousands of a split takes about 15 deaths; with too little memory every part of it dies.
_MOST_DEATHS = 100
_MEMORY = "this is often a lack of memory: try fewer --workers"


Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Job(Generic[Outcome]):
    """Work on one split that can be done in any process, and done again."""

    split: Split

    def run(self, worker: Callable[[], Worker], schema: "pa.Schema") -> Outcome:
        """Do it. ``worker`` makes a worker when it is first asked for one."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Task(Job[SplitResult]):
    """A split and where its part goes."""

    paths: PartPaths

    def run(self, worker: Callable[[], Worker], schema: "pa.Schema") -> SplitResult:
        return process_split(self.split, worker(), self.paths, schema=schema)


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    tasks: Iterable[Job[Outcome]], worker: Worker, schema: "pa.Schema", *, workers: int
) -> Iterator[tuple[Job[Outcome], Outcome]]:
    """Process splits; results come as they are ready.

    Args:
        tasks: The splits, read as they are needed.
        worker: A worker for this process, used where one is enough.
        schema: The training schema.
        workers: How many processes; with one, or one split, everything happens here.

    Raises:
        RunError: Writing failed in a worker.
        IfttoolError: Whatever reading the input raises.
    """
    waiting = iter(tasks)
    first = next(waiting, None)
    if first is None:
        return
    second = next(waiting, None)
    rest = chain([first] if second is None else [first, second], waiting)
    if workers == 1 or second is None:
        for task in rest:
            yield task, task.run(lambda: worker, schema)
        return
    crew = _Crew(worker.recipe, schema)
    try:
        yield from _spread(rest, crew, workers)
    finally:
        crew.dismiss()


def _spread(tasks: Iterator[Job[Outcome]], crew: "_Crew", workers: int) -> Iterator[tuple[Job[Outcome], Outcome]]:
    """Keep every worker busy; a split whose worker dies is tried once more, then taken apart."""
    exhausted = False
    while True:
        while not exhausted and len(crew) < workers:
            task = next(tasks, None)
            if task is None:
                exhausted = True
            else:
                crew.assign(task)
        if not len(crew):
            return
        for hand in crew.ready():
            task = hand.task
            result = hand.result()
            crew.release(hand, died=result is None)
            if result is None:
                result = _once_more(task, crew)
            yield task, result


def _once_more(task: Job[Outcome], crew: "_Crew") -> Outcome:
    """Run a split again whose worker died; if it dies again, find the rows that kill it and reject them."""
    result = crew.run_alone(task)
    if result is not None:
        return result
    rows = list(task.split.rows())
    poison = set(_poison(task, rows, list(range(len(rows))), crew))
    if not poison:
        raise RunError("a worker died while it wrote a shard, but on no single row", hint=_MEMORY)
    items = [
        _rejected(item) if index in poison and isinstance(item, RawRow) else item for index, item in enumerate(rows)
    ]
    result = crew.run_alone(replace(task, split=replace(task.split, part=None, items=items)))
    if result is None:
        raise RunError("a worker died again after the rows that killed it were taken out")
    return result


def _poison(task: Job[Any], rows: Sequence[RawRow | SkippedLine], indices: list[int], crew: "_Crew") -> Iterator[int]:
    """Which rows kill a worker on their own, by halving; together these do."""
    if len(indices) == 1:
        yield indices[0]
        return
    middle = len(indices) // 2
    for half in (indices[:middle], indices[middle:]):
        part = replace(task.split, part=None, items=[rows[index] for index in half])
        if half and crew.run_alone(replace(task, split=part)) is None:
            yield from _poison(task, rows, half, crew)


def _rejected(row: RawRow) -> SkippedLine:
    return SkippedLine(row.place, RowError("IFT405", "the row killed every process that worked on it"))


class _Hand:
    """One worker process and what it is doing."""

    def __init__(self, recipe: Recipe, schema: "pa.Schema") -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self.process: SpawnProcess = _SPAWN.Process(target=_serve, args=(theirs, recipe, schema), daemon=True)
        with _held_back(signal.SIGINT), _main_hidden():
            self.process.start()
        theirs.close()
        self.task: Job[Any]

    @property
    def handles(self) -> tuple[Connection, int]:
        return self._pipe, self.process.sentinel

    def give(self, task: Job[Any]) -> None:
        self.task = task
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; its sentinel tells
            self._pipe.send(task)

    def result(self) -> Any:
        """What the worker made of its task; None if it died.

        Raises:
            IfttoolError: What the worker raised.
        """
        try:
            answer = self._pipe.recv() if self._pipe.poll() else None
        except (EOFError, ConnectionResetError):
            answer = None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def dismiss(self) -> None:
        self._pipe.close()
        self.process.kill()
        self.process.join()


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """Hold a signal back for a moment; a process that starts meanwhile never gets it.

    Ctrl-C reaches the whole group and the parent decides; a worker that still imports would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # by itself it starts with the first worker, and lets SIGINT through (3.11)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep a process that starts meanwhile from running the caller's script once more.

    ``spawn`` reads off these two attributes of ``__main__`` what to import in the child. Workers need nothing of it,
    and a script without ``if __name__ == "__main__"`` would start workers of its own there.
    """
    main = vars(sys.modules["__main__"])
    before: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
    main.update(dict.fromkeys(before))
    try:
        yield
    finally:
        main.update(before)


class _Crew:
    """Worker processes, hired when they are needed."""

    def __init__(self, recipe: Recipe, schema: "pa.Schema") -> None:
        self._recipe, self._schema = recipe, schema
        self._busy: list[_Hand] = []
        self._idle: list[_Hand] = []
        self._prober: _Hand | None = None
        self._deaths = 0

    def __len__(self) -> int:
        return len(self._busy)

    def assign(self, task: Job[Any]) -> None:
        hand = self._idle.pop() if self._idle else _Hand(self._recipe, self._schema)
        hand.give(task)
        self._busy.append(hand)

    def ready(self) -> list[_Hand]:
        """Wait until a worker has answered or died."""
        handles = {handle: hand for hand in self._busy for handle in hand.handles}
        return list(dict.fromkeys(handles[handle] for handle in wait(list(handles))))  # type: ignore[index]

    def release(self, hand: _Hand, *, died: bool) -> None:
        self._busy.remove(hand)
        if died:
            hand.dismiss()
        else:
            self._idle.append(hand)

    def run_alone(self, task: Job[Outcome]) -> Outcome | None:
        """One task in a process that has no other; None if that dies.

        Raises:
            RunError: Processes died so often that no row can be the reason.
        """
        hand = self._prober or _Hand(self._recipe, self._schema)
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

    def dismiss(self) -> None:
        for hand in (*self._busy, *self._idle, *([self._prober] if self._prober else ())):
            hand.dismiss()


def _serve(pipe: Connection, recipe: Recipe, schema: "pa.Schema") -> None:
    """Body of a worker process: tasks in, results or errors out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it can't be held back
    threading.Thread(target=_die_with_parent, daemon=True).start()
    worker = cache(lambda: Worker(recipe, eager=True))
    while True:
        try:
            task: Job[Any] = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(task.run(worker, schema))
        except IfttoolError as error:
            pipe.send(RunError(error.message, hint=error.hint))
        except Exception as error:
            pipe.send(RunError(f"internal error in a worker: {type(error).__name__}: {error}"))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
