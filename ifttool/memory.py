"""Memory of this process: giving it back, and looking through it less often."""

import ctypes
import gc
from contextlib import suppress


def release_freed_memory() -> None:
    """Give back what was freed, where the C library is glibc; elsewhere nothing happens.

    Loading a tokenizer of 150,000 tokens leaves 100 MB of freed memory in glibc's hands, and its fast encoder as much
    again; a run would keep both to its end. Takes a few milliseconds.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def collect_seldom() -> None:
    """Look for cycles among objects a hundred times less often than by default.

    A row makes hundreds of objects and hardly ever a cycle: looking for them took a fifth of the time. For processes
    that belong to ifttool alone.
    """
    gc.set_threshold(100_000)
