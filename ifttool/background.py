"""One thread that works beside its caller: encoders, Arrow and hashes let other threads run meanwhile (no GIL)."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs calls in a thread of its own, in order and one at a time. Use as a context manager.

    At most one call is under way: the next one waits for it. So memory stays bounded, and what a call raises comes
    out at the next :meth:`start`, or at :meth:`result`. Leaving the context waits for the thread; an error of a call
    nobody asked for is lost then, so ask with :meth:`result` unless there is another error already.

    Args:
        beside: Whether there is a thread at all; without one, :meth:`start` does the call itself.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._beside = beside

    def __enter__(self) -> "Background[T]":
        self._pool = ThreadPoolExecutor(1)  # no thread before the first call
        self._call: Future[T] | None = None
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown()

    def start(self, call: Callable[..., T], *arguments: Any) -> T | None:
        """Start a call as soon as the one before is done; gives the earlier result, None if there was no call.

        Raises:
            BaseException: What the call before raised.
        """
        earlier = self.result()
        if self._beside:
            self._call = self._pool.submit(call, *arguments)
        else:
            self._call = Future()
            self._call.set_result(call(*arguments))
        return earlier

    def result(self) -> T | None:
        """Wait for the call that is under way and take its result; None if there is none.

        Raises:
            BaseException: What the call raised.
        """
        call, self._call = self._call, None
        return None if call is None else call.result()
