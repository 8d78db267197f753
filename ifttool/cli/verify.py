"""``ifttool verify``: finished shards against their manifest and their inputs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import print_json, printable, say
from ifttool.cli.run import DATA, DONE, USAGE
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.verification.report import Difference, Report

SHOWN = 20

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a finished run.", show_default=False)]
Sample = Annotated[
    int,
    typer.Option("--sample", metavar="N", min=0, help="How many samples to derive again; 0 checks digests only."),
]
All = Annotated[bool, typer.Option("--all", help="Derive every sample again.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--inputs",
        metavar="DIR|GLOB",
        help="Where the inputs are now; they are told by their content. Repeatable. [default: where they were]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on standard output.")]


def verify(
    folder: Folder,
    sample: Sample = 200,
    all: All = False,  # noqa: A002 - the option's name
    inputs: Inputs = None,
    quiet: opt.Quiet = False,
    json: Json = False,
) -> int:
    """Check finished shards: every digest and page checksum, all counts, and samples derived again from the inputs.

    Exit code 1 means that something differs, 2 that not everything could be checked.
    """
    from ifttool import api

    report = api.verify(folder, sample=None if all else sample, inputs=inputs)
    if json:
        print_json(report.as_json())
    for difference in report.differences[:SHOWN]:
        say(printable(_line(difference)))
    if len(report.differences) > SHOWN:
        say(f"… and {counted(len(report.differences) - SHOWN, 'more difference')}")
    if not quiet:
        _summarize(report)
    if report.differences:
        return DATA
    return DONE if report.is_complete else USAGE


def _line(difference: "Difference") -> str:
    row = "" if difference.row is None else f" row {difference.row}"
    origin = "" if difference.source is None else f" (from {difference.source}:{difference.line})"
    return f"{difference.path}{row}{origin}: {difference.message}"


def _summarize(report: "Report") -> None:
    for note in report.notes:
        say(f"note: {note}")
    for reason in report.unverified:
        say(f"not verified: {reason}")
    how = "derived again" if not report.packs else f"in {counted(report.packs, 'pack')} compared with their shards"
    say(
        f"{counted(report.files, 'file')} checked; {report.compared:,} of {counted(report.rows, 'sample')} {how}, "
        f"{counted(len(report.differences), 'difference')}"
    )
    if report.is_verified:
        say("verified")
    elif not report.differences:
        say("not fully verified: digests and counts are right, inputs are missing")
