"""JSON rows to standard output or a file, with the same ledger and tolerance as shards."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ifttool.api import Rows
from ifttool.api_types import OnReject
from ifttool.cli.console import RejectReporter, say, summarize
from ifttool.cli.run import DATA, DONE
from ifttool.errors import RowError, UsageError
from ifttool.io.atomic import atomic_writer
from ifttool.io.places import check_written
from ifttool.ledger import reject_line
from ifttool.output import check_new_file
from ifttool.records import Place
from ifttool.tolerance import Tolerance
from ifttool.words import counted


class _TooManyRejectsError(Exception):
    """Leaves the block that writes the output, so that the file isn't committed."""


def is_stream(output: str) -> bool:
    """Whether an output takes rows as JSON lines; everything else takes shards."""
    return output == "-" or output.endswith((".jsonl", ".json"))


def write_rows(
    make_rows: Callable[[OnReject], Rows],
    output: str,
    *,
    text_only: bool = False,
    force: bool,
    max_rejects: str,
    rejects: Path | None,
    quiet: bool,
) -> int:
    """Write rows as they come and say what happened.

    Args:
        make_rows: Given what to call for rows that are left out, starts the work.
        output: A file, which appears whole or not at all, or ``-``.
        text_only: Write each row's ``text`` and a line end instead of JSON.
        force: Overwrite the file.
        max_rejects: With more rejected rows the file isn't written.
        rejects: Where rows that are left out go with their original bytes.
        quiet: No summary.

    Returns:
        The exit code.
    """
    tolerance = Tolerance.parse(max_rejects)
    if rejects == Path("-"):
        raise UsageError("rejected rows can't go to standard output", hint="give --rejects a file")
    encode = _text if text_only else msgspec.json.Encoder().encode
    reporter = RejectReporter(quiet=quiet)
    with ExitStack() as stack:
        log: BinaryIO | None = None

        def refuse(place: Place, data: bytes | None, error: RowError, kind: str) -> None:
            reporter(place, error, kind)
            if log is not None:
                log.write(reject_line(place, data, error, kind=kind))

        rows = make_rows(refuse)
        written = {"--rejects": rejects, "-o": None if output == "-" else Path(output)}
        check_written({what: path for what, path in written.items() if path is not None}, rows.files)
        if rejects is not None:
            log = stack.enter_context(atomic_writer(rejects))
        with _open(output, force=force) as out:
            for row in rows:
                out.write(encode(row) + b"\n")
            rows.tally.check()
            if not tolerance.allows(rows.tally.total):
                raise _TooManyRejectsError
    reporter.close()
    committed = tolerance.allows(rows.tally.total)
    if not quiet:
        summarize(rows.tally, wrote=output if committed and output != "-" else None)
    if committed:
        return DONE
    say(
        f"ifttool: {counted(rows.tally.total.rejected.total(), 'row')} rejected, more than --max-rejects allows: "
        "the output isn't complete"
    )
    return DATA


@contextmanager
def _open(output: str, *, force: bool) -> Iterator[BinaryIO]:
    try:
        if output == "-":
            yield sys.stdout.buffer
        else:
            check_new_file(Path(output), force=force)
            with atomic_writer(output) as file:
                yield file
    except _TooManyRejectsError:
        pass
    if output == "-":
        sys.stdout.buffer.flush()


def _text(row: dict[str, Any]) -> bytes:
    text: str = row["text"]
    return text.encode("utf-8")
