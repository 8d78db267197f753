"""Memory of this process: giving it back, and setting it up for work on many rows."""

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def release_freed_memory() -> None:
    """Give back what was freed, where the C library is glibc; elsewhere nothing happens.

    Loading a tokenizer of 150,000 tokens leaves 100 MB of freed memory in glibc's hands, and its fast encoder as much
    again; a run would keep both to its end. Takes a few milliseconds.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def tune_process() -> None:
    """Set the memory of this process up for work on many rows. For processes that belong to ifttool alone.

    Python looks for cycles among objects a hundred times less often: a row makes hundreds of objects and hardly ever
    a cycle, and looking for them took a fifth of the time. All threads share one arena of glibc's: an arena of its
    own for the thread that loads or runs the encoder keeps 40 MB more, and is no faster.
    """
    gc.set_threshold(100_000)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
