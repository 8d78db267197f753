"""The process around a command: its standard streams when it begins, and how it ends."""

import os
import signal
import sys
from typing import NoReturn

from ifttool.cli.run import io_failed

# Reading a closed input or writing to a closed output is an error; messages that nobody asks for aren't.
_INSTEAD = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


def open_streams() -> None:
    """Put something in the place of standard streams that are closed (``>&-``), before a file gets their number."""
    for number, mode in _INSTEAD.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def leave(code: int) -> NoReturn:
    """End the process at once: all is written and said, and Python would clear up for 0.2 s.

    It would also wait for a tokenizer that is being loaded in a thread, or, after Ctrl-C, forget that thread and abort.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        code = code or io_failed(error)
    os._exit(code)
