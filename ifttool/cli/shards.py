"""What the commands that write shards share: the work with a progress bar, and the report."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.cli.console import announce_stdin, print_json, progress
from ifttool.cli.outcome import report_run

if TYPE_CHECKING:
    from ifttool.pipeline import RunSummary


def write_shards(
    work: "Callable[..., RunSummary]",
    inputs: list[str] | dict[str, str] | None,
    output: Path,
    options: Mapping[str, Any],
    *,
    max_rejects: str,
    quiet: bool,
    json: bool,
) -> int:
    """Do the work with a progress bar, and report.

    Returns:
        The exit code.
    """
    announce_stdin(inputs, quiet=quiet)
    with progress(quiet=quiet) as show:
        summary = work(inputs or "-", output, max_rejects=max_rejects, on_progress=show, **options)
    if json:
        print_json(summary.as_json())
    return report_run(summary, output, quiet=quiet)
