"""``ifttool export``: finished shards → the layout of a trainer that doesn't read Parquet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import print_json, say
from ifttool.cli.run import DONE
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.exporting.summary import ExportSummary

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a run.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="A new folder.", show_default=False)]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="FORMAT",
        help="hf-disk (LLaMA-Factory, ms-swift), olmo-core, mds (LLM-Foundry), megatron-bin, "
        "or messages (trainers that tokenize by themselves).",
        show_default=False,
    ),
]
Lengths = Annotated[bool, typer.Option("--lengths", help="hf-disk: add length and lengths, for ms-swift.")]
EosAnywhere = Annotated[
    bool,
    typer.Option(
        "--eos-anywhere",
        help="olmo-core: take samples whose EOS isn't single and last; the trainer needs use_array_if_local=False.",
    ),
]
VocabSize = Annotated[
    int | None,
    typer.Option(
        "--vocab-size", metavar="N", min=1, help="olmo-core: vocab_size of the trainer. [default: the tokenizer's]"
    ),
]
DropLossMask = Annotated[bool, typer.Option("--drop-loss-mask", help="megatron-bin: yes, every token will be trained.")]
InputPlaces = Annotated[
    list[str] | None,
    typer.Option("--inputs", metavar="PATH", help="messages: where the inputs of the run are now.", show_default=False),
]


def export(
    folder: Folder,
    to: To,
    output: Output,
    lengths: Lengths = False,
    eos_anywhere: EosAnywhere = False,
    vocab_size: VocabSize = None,
    drop_loss_mask: DropLossMask = False,
    inputs: InputPlaces = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an earlier export.")] = False,
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Finished shards → the files of a trainer that doesn't read Parquet."""
    from ifttool import api

    summary = api.export(
        folder,
        output,
        to=to,
        lengths=lengths,
        eos_anywhere=eos_anywhere,
        vocab_size=vocab_size,
        drop_loss_mask=drop_loss_mask,
        inputs=inputs or None,
        force=force,
    )
    if json:
        print_json(summary.as_json())
    if not quiet:
        _report(summary)
    return DONE


def _report(summary: "ExportSummary") -> None:
    for split, figures in summary.splits.items():
        sizes = [counted(figures.rows, "row")]
        sizes += [counted(figures.tokens, "token")] if figures.tokens else []
        sizes += [f"{figures.trained_tokens:,} trained"] if figures.trained_tokens else []
        say(f"{split}: {', '.join(sizes)}")
        for what, count in figures.remarks.items():
            say(f"  {count:,} {what}")
    say(f"wrote {summary.output}")
