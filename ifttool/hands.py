"""One worker process: how it starts, is given work and answers, and goes when its parent goes.

Where that is safe it is a copy of its parent (fork), which has loaded the tokenizer and learnt the template: loading
takes 1.5 s a process, and the memory is shared. Otherwise it starts from nothing (spawn).
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from ifttool.errors import IfttoolError, RunError
from ifttool.memory import tune_process
from ifttool.recipe import Recipe
from ifttool.split import Split
from ifttool.worker import Worker

_SPAWN = multiprocessing.get_context("spawn")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Job(Generic[Outcome]):
    """Work on one split that can be done in any process, and done again."""

    split: Split

    def run(self, worker: Callable[[], Worker]) -> Outcome:
        """Do it. ``worker`` makes a worker when it is first asked for one."""
        raise NotImplementedError


class Hand:
    """One worker process and what it is doing.

    Args:
        worker: A worker of this process under the same recipe.
    """

    def __init__(self, worker: Worker) -> None:
        self.task: Job[Any]
        if _can_fork():
            context = multiprocessing.get_context("fork")
            self._pipe, theirs = context.Pipe()
            # A handler of this process, run in its copy, would unwind the run there as well.
            with _held_back(signal.SIGINT, signal.SIGTERM):
                self.process: Any = context.Process(
                    target=_serve_as_copy, args=(theirs, self._pipe, worker), daemon=True
                )
                self.process.start()
        else:
            self._pipe, theirs = _SPAWN.Pipe()
            # By itself it starts with the first worker, and lets SIGINT through (3.11).
            resource_tracker.ensure_running()
            with _held_back(signal.SIGINT), _main_hidden():
                self.process = _SPAWN.Process(target=_serve_anew, args=(theirs, worker.recipe), daemon=True)
                self.process.start()
        theirs.close()

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
        except (EOFError, OSError):  # also in the middle of an answer
            answer = None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def dismiss(self) -> None:
        # Killed first: it isn't to find out that nobody listens.
        self.process.kill()
        self.process.join()
        self._pipe.close()


def copies(worker: Worker, number: int) -> Iterator[Hand]:
    """So many processes that are copies of this one; none where that isn't safe: others can start later as well."""
    for _ in range(number if _can_fork() else 0):
        yield Hand(worker)


@contextmanager
def _held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Hold signals back for a moment; a process that starts meanwhile never gets them.

    Ctrl-C reaches the whole group and the parent decides; a worker that still imports would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
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


def _can_fork() -> bool:
    """Whether a copy of this process can work: locks that other threads hold would stay locked in it for ever.

    Threads of Arrow and of NumPy's BLAS don't matter, since both libraries take care of forks. That of ``fastokens``
    does, and it starts with the first text encoded (reliability.md K17).
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return False
    names = list(_thread_names())
    return bool(names) and not any(name.startswith(b"fastokens") for name in names)


def _thread_names() -> Iterator[bytes]:
    """Names of the threads of this process, those of libraries among them; nothing where there is no /proc."""
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has just ended
            yield path.read_bytes()


def _serve_as_copy(pipe: Connection, of_parent: Connection, worker: Worker) -> None:
    """Body of a worker process that is a copy of its parent."""
    of_parent.close()
    # Copies hold ends of each other's pipes: the death of the parent shows in none while a later one hangs.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    # Read at each call: the pool that the parent may have encoded with has no threads here, and calls would hang.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    gc.freeze()
    _serve(pipe, lambda: worker)


def _serve_anew(pipe: Connection, recipe: Recipe) -> None:
    """Body of a worker process that starts from nothing."""
    _serve(pipe, cache(lambda: Worker(recipe, eager=True)))


def _serve(pipe: Connection, worker: Callable[[], Worker]) -> None:
    """Tasks in, results or errors out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it can't be held back
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Read when it first encodes: a second thread of each worker's encoder would only take cores from other workers.
    os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
    tune_process()
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            pipe.send(_answer(pipe.recv(), worker))


def _answer(task: Job[Any], worker: Callable[[], Worker]) -> Any:
    """What becomes of a task: its result, or the error for the parent to raise."""
    try:
        return task.run(worker)
    except IfttoolError as error:
        return error
    except Exception as error:
        return RunError(f"internal error in a worker: {type(error).__name__}: {error}")


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
