"""``ifttool pack``: shards → packed shards."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import print_json, printable, say, summarize
from ifttool.cli.run import DONE
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.packing.figures import Fill, PackSummary

Shards = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Output folders of ifttool, .parquet or .arrow shards, or globs of them."),
]
PackOutput = Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="A folder.", show_default=False)]
Length = Annotated[
    int,
    typer.Option("--length", metavar="N", help="What a pack holds, in tokens: your trainer's.", show_default=False),
]
LayoutName = Annotated[
    str,
    typer.Option(
        "--layout",
        metavar="NAME",
        help="Columns of one trainer: trl, unsloth, transformers, megatron-bridge; default suits the first three.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="N",
        help="Pack every N rows on their own, which keeps their order roughly. [default: all at once]",
        show_default=False,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Decides the order of packs and of equally long samples.")
]
Overlong = Annotated[
    str, typer.Option("--overlong", metavar="WHAT", help="Samples that no pack can hold: drop (and list) or error.")
]
ShardCount = Annotated[
    int | None,
    typer.Option(
        "--shards",
        metavar="N",
        help="Shards of each split, with equally many packs; no more than packs. "
        "[default: one for every 50 million tokens]",
        show_default=False,
    ),
]


def pack(
    inputs: Shards,
    output: PackOutput,
    length: Length,
    layout: LayoutName = "default",
    window: Window = None,
    seed: Seed = 0,
    overlong: Overlong = "drop",
    shards: ShardCount = None,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Finished shards → packed shards: whole samples only, in packs as full as best fit decreasing makes them."""
    from ifttool import api

    summary = api.pack(
        inputs,
        output,
        length=length,
        layout=layout,
        window=window,
        seed=seed,
        overlong=overlong,
        shards=shards,
        force=force,
    )
    if json:
        print_json(summary.as_json())
    if not quiet:
        report_packs(summary, output)
    return DONE


def report_packs(summary: "PackSummary", output: str) -> None:
    """Say what was left out and how full the packs are."""
    summarize(replace(summary.tally, samples=summary.total.sequences), wrote=None)
    for name, fill in summary.splits.items():
        say(f"{printable(name)}: {_sentence(fill)}")
    say(f"wrote {printable(output)}")


def _sentence(fill: "Fill") -> str:
    if not fill.packs:
        return (
            f"no packs: {f'nothing fits into {fill.length:,} tokens' if fill.overlong else 'there is nothing to pack'}"
        )
    return (
        f"{counted(fill.sequences, 'sample')} in {counted(fill.packs, 'pack')} of {fill.length:,}, "
        f"{fill.rate:.2%} full ({counted(fill.padding, 'token')} of padding)"
    )
