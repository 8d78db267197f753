"""What a run read, by content: size and SHA-256 of every input file, computed beside the run."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ifttool.errors import InputChanged
from ifttool.io.inputs import STDIN, open_input, printable

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class InputDigest:
    """One input by content.

    Attributes:
        bytes: Size of the file as it lies, compressed or not; None for a stream, which is gone once it is read.
        sha256: Digest of these bytes, as hex; None for a stream.
    """

    bytes: int | None = None
    sha256: str | None = None


class InputDigests:
    """Digests of input files, computed in a thread while the run goes on. Use as a context manager.

    SHA-256 takes 0.6 s a gigabyte on a core with SHA instructions and 2 s without, and lets other threads run
    meanwhile: a run of several workers, which takes some 10 s for it, doesn't wait.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        # Before the first row is read: a file that changes between two splits is noticed at the end.
        self._states = {source: _state(source) for source in sources}

    def __enter__(self) -> "InputDigests":
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(1)
        self._futures: dict[str, Future[InputDigest]] = {
            source: self._pool.submit(digest_input, source, stopped=self._stopped.is_set) for source in self._states
        }
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()  # after Ctrl-C nobody waits for the rest of a large file
        self._pool.shutdown(cancel_futures=True)

    def ready(self, source: str) -> InputDigest | None:
        """The digest of one input if it is known by now."""
        future = self._futures.get(source)
        return future.result() if future is not None and future.done() else None

    def results(self) -> dict[str, InputDigest]:
        """The digests by source, in the order of the sources. Waits for them.

        Raises:
            InputChanged: A file isn't what it was when the run began.
        """
        digests = {source: future.result() for source, future in self._futures.items()}
        for source, state in self._states.items():
            if _state(source) != state:
                raise InputChanged(f"{printable(source)} changed while it was read")
        return digests


def digest_input(source: str, *, stopped: Callable[[], bool] = lambda: False) -> InputDigest:
    """Size and digest of one input, read from its start; empty for standard input and named pipes.

    Args:
        source: A path, or ``-``.
        stopped: Asked now and then; a digest that nobody wants any more is given up and wrong.

    Raises:
        UsageError: It can't be opened.
        InputChanged: It is being written to.
    """
    if _state(source) is None:
        return InputDigest()
    with open_input(source) as stream:
        before = os.fstat(stream.fileno())
        digest = hashlib.sha256()
        while not stopped() and (chunk := stream.read(_CHUNK)):
            digest.update(chunk)
        after = os.fstat(stream.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputChanged(f"{printable(source)} changed while it was read")
    return InputDigest(after.st_size, digest.hexdigest())


def _state(source: str) -> tuple[int, int] | None:
    """Size and time of a file's last change; None for what can be read only once."""
    if source == STDIN or not Path(source).is_file():
        return None
    status = Path(source).stat()
    return status.st_size, status.st_mtime_ns
