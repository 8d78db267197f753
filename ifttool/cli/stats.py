"""``ifttool stats``: figures of conversations or of finished shards."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import RejectReporter, announce_stdin, print_json, progress, say
from ifttool.cli.given import parsed_kwargs
from ifttool.cli.run import DATA, DONE
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.figures import Stats
    from ifttool.recipe import Recipe

BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", min=1, help="Count the steps of an epoch at N samples a batch."),
]
MaxLength = Annotated[
    int | None,
    typer.Option("--max-length", metavar="N", min=1, help="Count the samples over N tokens; none is left out."),
]


def stats(
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    train_on: opt.TrainOn = "assistant-turns",
    max_length: MaxLength = None,
    batch_size: BatchSize = None,
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    spans: opt.Spans = "auto",
    allow_text_markers: opt.AllowTextMarkers = False,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    max_rejects: opt.MaxRejects = "0",
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Lengths, roles, trained tokens, verdicts and rejects of conversations, or of shards that are finished.

    INPUT may also be an output folder of ifttool, or .parquet and .arrow shards. They are measured as they are:
    options about templates, tokenizers and conversations don't apply.
    """
    from ifttool.api import stats_sources
    from ifttool.figures import shard_stats
    from ifttool.resolve import resolve_recipe
    from ifttool.tolerance import Tolerance

    tolerance = Tolerance.parse(max_rejects)
    sources, finished = stats_sources(inputs or ["-"])
    announce_stdin(sources, quiet=quiet)
    if finished:
        _report(shard_stats(sources), max_length=max_length, batch_size=batch_size, json=json)
        return DONE
    recipe = resolve_recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=parsed_kwargs(template_kwargs),
        date=date,
        train_on=train_on,
        spans=spans,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
    )
    figures = _measure(sources, recipe, quiet=quiet)
    _report(figures, max_length=max_length, batch_size=batch_size, json=json)
    if figures.tally is None or tolerance.allows(figures.tally.total):
        return DONE
    rejected = figures.tally.total.rejected.total()
    say(f"ifttool: {counted(rejected, 'row')} rejected, more than --max-rejects allows")
    return DATA


def _measure(sources: list[str], recipe: "Recipe", *, quiet: bool) -> "Stats":
    from ifttool.figures import conversation_stats

    reporter = RejectReporter(quiet=quiet)
    try:
        with progress(quiet=quiet) as show:
            return conversation_stats(
                sources,
                recipe=recipe,
                refuse=lambda place, _data, error, kind: reporter(place, error, kind),
                on_progress=show,
            )
    finally:
        reporter.close()


def _report(figures: "Stats", *, max_length: int | None, batch_size: int | None, json: bool) -> None:
    if json:
        print_json(figures.as_json(max_length=max_length, batch_size=batch_size))
        return
    from ifttool.report.stats_text import stats_text

    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    ascii_only = not encoding.startswith("utf")
    text = stats_text(figures, max_length=max_length, batch_size=batch_size, ascii_only=ascii_only)
    sys.stdout.write(text.encode("ascii", "backslashreplace").decode() if ascii_only else text)
