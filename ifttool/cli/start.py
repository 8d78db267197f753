"""The first moments of a command: its standard streams, and what Ctrl-C does until the command line is imported."""

import os
import signal
import sys
from typing import NoReturn

# Reading a closed input or writing to a closed output is an error; messages that nobody asks for aren't.
_INSTEAD = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


def main() -> None:
    """Entry point of the console script."""
    _open_streams()
    # Importing Typer is most of what `ifttool --help` takes. There is nothing to clear up yet, and Python would print
    # a traceback. Where a shell has SIGINT ignored (`command &` in a script), it stays so.
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:
        signal.signal(signal.SIGINT, _interrupted)
    from ifttool.cli.ahead import begin

    begin(sys.argv[1:])
    from ifttool.cli.app import main as run

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _interrupted(number: int, _frame: object) -> NoReturn:
    try:
        os.write(2, b"ifttool: interrupted\n")
    finally:
        os._exit(128 + number)


def _open_streams() -> None:
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
