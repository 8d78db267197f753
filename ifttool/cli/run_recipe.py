"""``ifttool run``: a whole chain of steps from one file."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import print_json, progress, say
from ifttool.cli.outcome import report_run
from ifttool.cli.run import DONE

if TYPE_CHECKING:
    from ifttool.running.chain import ChainSummary

RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A TOML file, or the manifest.json of an output.", show_default=False)
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Write here. [default: what the recipe says]", show_default=False
    ),
]
Show = Annotated[bool, typer.Option("--show", help="Print the recipe with every key and its value, and do nothing.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Processes; the bytes are the same. [default: what the recipe says, or all cores]",
        show_default=False,
    ),
]


def run(
    recipe: RecipeFile,
    output: Output = None,
    show: Show = False,
    force: opt.Force = False,
    depfile: opt.Depfile = None,
    resume: opt.Resume = False,
    workers: Workers = None,
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Do what a recipe file says, or repeat the run that wrote a manifest, byte for byte."""
    from ifttool import api

    if show:
        sys.stdout.write(_shown(recipe, output))
        return DONE
    with progress(quiet=quiet) as update:
        summary = api.run(
            recipe, output, force=force, workers=workers, depfile=depfile, resume=resume, on_progress=update
        )
    if json:
        print_json(summary.as_json())
    return _report(summary, quiet=quiet)


def _shown(recipe: Path, output: str | None) -> str:
    from ifttool import api
    from ifttool.cli.mask import mask
    from ifttool.cli.pack import pack
    from ifttool.cli.tokenize import tokenize
    from ifttool.cli.unroll import unroll
    from ifttool.running.resolved import manifest_text, resolved_text

    if recipe.suffix == ".json":
        return manifest_text(recipe)
    shells: dict[str, Callable[..., int]] = {
        "mask": mask,
        "tokenize": tokenize,
        "unroll": unroll,
        "pack": pack,
    }
    defaults = {
        name: {key: parameter.default for key, parameter in inspect.signature(shell).parameters.items()}
        for name, shell in shells.items()
    }
    # Absolute, since a recipe file's paths count from wherever the text will be put.
    target = None if output is None else Path(output).absolute()
    return resolved_text(api.recipe_steps(recipe.absolute(), target), api.STEPS, defaults)


def _report(summary: "ChainSummary", *, quiet: bool) -> int:
    only_packs = summary.packed_output == summary.output
    code = DONE if only_packs else report_run(summary.shards, summary.output, quiet=quiet)
    if quiet:
        return code
    if summary.packed is not None:
        from ifttool.cli.pack import report_packs

        report_packs(summary.packed, summary.packed_output or "")
    for note in summary.notes:
        say(f"note: {note}")
    return code
