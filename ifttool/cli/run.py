"""What every command does around its work: errors → messages and exit codes, signals, broken pipes."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import typer

from ifttool.cli.console import printable, report_error, say
from ifttool.errors import IfttoolError
from ifttool.memory import tune_process

DONE, DATA, USAGE, FAILED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


class _Terminated(SystemExit):
    """SIGTERM arrived: unwind like an interrupt, so that temporary files go away.

    A SystemExit, since that is what code around Rust panics lets through.
    """


def _on_sigterm(_signal: int, _frame: object) -> NoReturn:
    raise _Terminated(TERMINATED)


def _back_to_typer(code: int) -> NoReturn:
    raise typer.Exit(code)


class Ending:
    """How a command ends once its outcome has been said; a process that is nothing but a command ends there.

    Attributes:
        by: Called with the exit code.
    """

    by: ClassVar[Callable[[int], NoReturn]] = staticmethod(_back_to_typer)


def command(body: Callable[..., int | None]) -> Callable[..., None]:
    """A command body that returns its exit code, made into a Typer command."""

    @functools.wraps(body)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            code = _run(lambda: body(*args, **kwargs))
        except (KeyboardInterrupt, _Terminated) as signalled:  # while the outcome was said
            code = _code_of(signalled)
        Ending.by(code)

    return guarded


def _run(body: Callable[[], int | None]) -> int:
    try:
        signal.signal(signal.SIGTERM, _on_sigterm)
        tune_process()
        code = body() or DONE
        sys.stdout.flush()
    except IfttoolError as error:
        report_error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader went away (`| head`), which is its right. What is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (KeyboardInterrupt, _Terminated) as signalled:
        return _stopped(signalled)
    except OSError as error:
        return io_failed(error)
    except Exception as error:
        if (cause := _signal_behind(error)) is not None:
            return _stopped(cause)
        # A traceback would print people's data; it is there on request.
        if os.environ.get("IFTTOOL_DEBUG"):
            raise
        say(f"ifttool: internal error: {type(error).__name__}: {printable(str(error))}")
        say("  hint: this is a defect of ifttool; IFTTOOL_DEBUG=1 shows where")
        return FAILED
    return code


def _stopped(signalled: BaseException) -> int:
    """Say which signal ended the command; gives the exit code."""
    code = _code_of(signalled)
    say("ifttool: terminated" if code == TERMINATED else "ifttool: interrupted")
    return code


def _code_of(signalled: BaseException) -> int:
    return TERMINATED if isinstance(signalled, _Terminated) else INTERRUPTED


def _signal_behind(error: BaseException) -> BaseException | None:
    """The signal that caused an error: while a class is made, as imports do, Python makes a RuntimeError of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt | _Terminated):
        cause = cause.__cause__
    return cause


def io_failed(error: OSError) -> int:
    """Say what the operating system refused; gives the exit code."""
    say(f"ifttool: error: {error.filename or 'I/O'}: {error.strerror}")
    return FAILED
