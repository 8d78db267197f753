"""The first moments of a command: what Ctrl-C does until the command line is imported."""

import os
import signal
from typing import NoReturn


def main() -> None:
    """Entry point of the console script."""
    # Importing Typer is most of what `ifttool --help` takes. There is nothing to clear up yet, and Python would print
    # a traceback. Where a shell has SIGINT ignored (`command &` in a script), it stays so.
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:
        signal.signal(signal.SIGINT, _interrupted)
    from ifttool.cli.app import main as run

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _interrupted(number: int, _frame: object) -> NoReturn:
    try:
        os.write(2, b"ifttool: interrupted\n")
    finally:
        os._exit(128 + number)
