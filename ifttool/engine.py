"""Splits over processes: the same function, the same bytes, on one core or many.

Standard pools either hang when a worker is killed or leave orphans when the parent is. Here each worker has a pipe of
its own; the parent waits for pipes and for deaths at once, and a thread in every worker ends it with its parent.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from ifttool.errors import IfttoolError, RowError, RunError
from ifttool.io.source import SkippedLine
from ifttool.recipe import Recipe
from ifttool.records import RawRow
from ifttool.split import PartPaths, Split, SplitResult, process_split
from ifttool.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

_SPAWN = multiprocessing.get_context("spawn")  # a fork after the tokenizer ran can deadlock (reliability.md K17)


@dataclass(frozen=True, slots=True)
class Task:
    """A split and where its part goes."""

    split: Split
    paths: PartPaths


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    tasks: Iterable[Task], worker: Worker, schema: "pa.Schema", *, workers: int
) -> Iterator[tuple[Task, SplitResult]]:
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
            yield task, process_split(task.split, worker, task.paths, schema=schema)
        return
    crew = _Crew(worker.recipe, schema)
    try:
        yield from _spread(rest, crew, workers)
    finally:
        crew.dismiss()


def _spread(tasks: Iterator[Task], crew: "_Crew", workers: int) -> Iterator[tuple[Task, SplitResult]]:
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
            crew.release(hand)
            if result is None:
                result = _once_more(task, crew)
            yield task, result


def _once_more(task: Task, crew: "_Crew") -> SplitResult:
    """Run a split again whose worker died; if it dies again, find the rows that kill it and reject them."""
    result = crew.run_alone(task)
    if result is not None:
        return result
    rows = list(task.split.rows())
    poison = set(_poison(task, rows, list(range(len(rows))), crew))
    if not poison:
        raise RunError(
            "a worker died while it wrote a shard, but on no single row",
            hint="this is often a lack of memory: try fewer --workers",
        )
    items = [
        _rejected(item) if index in poison and isinstance(item, RawRow) else item for index, item in enumerate(rows)
    ]
    result = crew.run_alone(replace(task, split=replace(task.split, part=None, items=items)))
    if result is None:
        raise RunError("a worker died again after the rows that killed it were taken out")
    return result


def _poison(task: Task, rows: Sequence[RawRow | SkippedLine], indices: list[int], crew: "_Crew") -> Iterator[int]:
    """Rows that kill a worker, by halving."""
    some = [rows[index] for index in indices]
    part = replace(task, split=Split(task.split.index, task.split.source, items=some))
    if crew.run_alone(part) is not None:
        return
    if len(indices) == 1:
        yield indices[0]
        return
    middle = len(indices) // 2
    yield from _poison(task, rows, indices[:middle], crew)
    yield from _poison(task, rows, indices[middle:], crew)


def _rejected(row: RawRow) -> SkippedLine:
    return SkippedLine(row.place, RowError("IFT405", "the row killed the process that worked on it, three times"))


class _Hand:
    """One worker process and what it is doing."""

    def __init__(self, recipe: Recipe, schema: "pa.Schema") -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self.process: SpawnProcess = _SPAWN.Process(target=_serve, args=(theirs, recipe, schema), daemon=True)
        self.process.start()
        theirs.close()
        self.task: Task

    @property
    def handles(self) -> tuple[Connection, int]:
        return self._pipe, self.process.sentinel

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; its sentinel tells
            self._pipe.send(task)

    def result(self) -> SplitResult | None:
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

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def dismiss(self) -> None:
        self._pipe.close()
        self.process.kill()
        self.process.join()


class _Crew:
    """Worker processes, hired when they are needed."""

    def __init__(self, recipe: Recipe, schema: "pa.Schema") -> None:
        self._recipe, self._schema = recipe, schema
        self._busy: list[_Hand] = []
        self._idle: list[_Hand] = []

    def __len__(self) -> int:
        return len(self._busy)

    def assign(self, task: Task) -> None:
        hand = self._idle.pop() if self._idle else _Hand(self._recipe, self._schema)
        hand.give(task)
        self._busy.append(hand)

    def ready(self) -> list[_Hand]:
        """Wait until a worker has answered or died."""
        handles = {handle: hand for hand in self._busy for handle in hand.handles}
        return list(dict.fromkeys(handles[handle] for handle in wait(list(handles))))  # type: ignore[index]

    def release(self, hand: _Hand) -> None:
        self._busy.remove(hand)
        if hand.is_alive:
            self._idle.append(hand)
        else:
            hand.dismiss()

    def run_alone(self, task: Task) -> SplitResult | None:
        """One task in a fresh process; None if that dies."""
        hand = _Hand(self._recipe, self._schema)
        try:
            hand.give(task)
            wait(list(hand.handles))
            return hand.result()
        finally:
            hand.dismiss()

    def dismiss(self) -> None:
        for hand in (*self._busy, *self._idle):
            hand.dismiss()


def _serve(pipe: Connection, recipe: Recipe, schema: "pa.Schema") -> None:
    """Body of a worker process: tasks in, results or errors out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    worker: Worker | None = None
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        try:
            worker = worker or Worker(recipe)
            pipe.send(process_split(task.split, worker, task.paths, schema=schema))
        except IfttoolError as error:
            pipe.send(RunError(error.message, hint=error.hint))
        except Exception as error:
            pipe.send(RunError(f"internal error in a worker: {type(error).__name__}: {error}"))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
