"""What ifttool says on standard error: messages, progress, summary. Data goes to standard output only."""

import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.errors import IfttoolError, RowError
from ifttool.findings import CODES
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.ledger import Tally

MESSAGES_SHOWN = 20


def printable(text: str) -> str:
    """Text with control characters escaped: messages quote data, and data can hold terminal commands."""
    return "".join(char if char.isprintable() or char == " " else f"\\x{ord(char):02x}" for char in text)


def say(text: str) -> None:
    """One line on standard error."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        # Nobody can read the messages (`2>&1 | head`): that mustn't change what the run does or how it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def announce_stdin(inputs: Collection[str] | None, *, quiet: bool = False) -> None:
    """Say that a command is about to read what is typed: one that was called without inputs would seem to hang.

    Args:
        inputs: As given; none at all stand for ``-``.
        quiet: Say nothing.
    """
    if not quiet and "-" in (inputs or "-") and sys.stdin is not None and sys.stdin.isatty():
        say("ifttool: reading from standard input, which is this terminal; Ctrl-D ends it")


def report_error(error: IfttoolError) -> None:
    """An error, and what to do about it."""
    say(f"ifttool: error: {printable(error.message)}")
    if error.hint:
        say(f"  hint: {printable(error.hint)}")


class RejectReporter:
    """Prints the first rejected rows as ``file:line: CODE: reason`` and counts the rest."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._count = 0

    def __call__(self, place: object, error: RowError, kind: str) -> None:
        if kind == "dropped" or self._quiet:
            return
        self._count += 1
        if self._count <= MESSAGES_SHOWN:
            where = f" at {error.path}" if error.path else ""
            say(printable(f"{place}: {error.code}{where}: {error.message}"))
            if error.hint:
                say(f"  hint: {printable(error.hint)}")

    def close(self) -> None:
        if self._count > MESSAGES_SHOWN:
            say(f"… and {counted(self._count - MESSAGES_SHOWN, 'more rejected row')}")


def show_rejects(path: Path, *, quiet: bool) -> None:
    """Print the first rejects of a file that a run wrote."""
    reporter = RejectReporter(quiet=quiet)
    with path.open("rb") as file:
        for line in file:
            record = json.loads(line)
            error = RowError(record["code"], record["message"], path=record["path"], hint=record["hint"])
            reporter(f"{record['file']}:{record['line']}", error, record["kind"])
    reporter.close()


@contextmanager
def progress(*, quiet: bool) -> Iterator[Any]:
    """A live line of rows, MB/s, tokens and rejects while standard error is a terminal; nothing otherwise.

    Yields:
        A function to be called with the tally so far and the input bytes it covers.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    started = time.monotonic()
    # Its thread starts with the first report, behind the worker processes: they are copies of one without threads.
    live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
    with ExitStack() as stack:

        def update(tally: "Tally", size: int) -> None:
            if not live.is_started:
                stack.enter_context(live)
            rate = size / 1e6 / max(time.monotonic() - started, 1e-9)
            total = tally.total
            live.update(
                Text(
                    f"{counted(total.lines, 'row')}  {rate:.1f} MB/s  {counted(tally.tokens, 'token')}  "
                    f"{total.rejected.total():,} rejected"
                )
            )

        yield update


def print_json(value: dict[str, Any]) -> None:
    """The machine summary, on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def summarize(tally: "Tally", *, wrote: str | None) -> None:
    """The plain summary of a run."""
    total = tally.total
    parts = [f"{total.kept:,} kept"]
    parts += [f"{count:,} rejected ({code} {CODES[code]})" for code, count in sorted(total.rejected.items())]
    parts += [f"{count:,} dropped ({code} {CODES[code]})" for code, count in sorted(total.dropped.items())]
    if total.blanks:
        parts.append(f"{total.blanks:,} blank")
    say(f"{counted(total.lines, 'line')} = {' + '.join(parts)}")
    for code, count in sorted(tally.samples_dropped.items()):
        say(f"{counted(count, 'sample')} of kept rows dropped ({code} {CODES[code]})")
    if tally.tokens:
        share = tally.trained_tokens / tally.tokens
        say(
            f"{counted(tally.samples, 'sample')}, {counted(tally.tokens, 'token')}, "
            f"{tally.trained_tokens:,} trained ({share:.1%})"
        )
    elif tally.samples != total.kept:
        say(counted(tally.samples, "sample"))
    if total.lines and not tally.samples and wrote is not None:
        say("warning: no row gave a sample")
    if tally.verdicts:
        say("turns: " + ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(tally.verdicts.items())))
    for code, count in sorted(tally.findings.items()):
        say(f"warning: {code} {CODES[code]}: {count:,} (first: {printable(tally.examples[code])})")
    if wrote is not None:
        say(f"wrote {printable(wrote)}")
