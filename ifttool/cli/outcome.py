"""What a run of shards came to, in words and an exit code."""

from pathlib import Path
from typing import TYPE_CHECKING

from ifttool.cli.console import say, show_rejects, summarize
from ifttool.cli.run import DATA, DONE
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.pipeline import RunSummary


def report_run(summary: "RunSummary", output: str | Path, *, quiet: bool) -> int:
    """Say what was rejected and what was written; gives the exit code."""
    if summary.rejects is not None:
        show_rejects(summary.rejects, quiet=quiet)
    if not quiet:
        summarize(summary.tally, wrote=str(output) if summary.committed else None)
        if summary.splits is not None and len(summary.splits) > 1:
            say("; ".join(f"{name}: {counted(size['samples'], 'sample')}" for name, size in summary.splits.items()))
    if summary.committed:
        return DONE
    say(
        f"ifttool: {counted(summary.tally.total.rejected.total(), 'row')} rejected, more than --max-rejects allows: "
        f"no shards were written. The rows are in {summary.rejects}"
    )
    return DATA
