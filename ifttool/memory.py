"""Memory of this process: giving it back, and setting it up for work on many rows."""

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h
# Two tokenizers load side by side, in two threads that ask for memory all the time. With one arena they wait for each
# other: loading Qwen3's takes 2.0 s instead of 1.6. With more, each further thread keeps freed memory of its own.
_ARENAS = 2


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
    a cycle, and looking for them took a fifth of the time. Threads share few arenas of glibc's: without a bound there
    are eight for each core.
    """
    gc.set_threshold(100_000)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
