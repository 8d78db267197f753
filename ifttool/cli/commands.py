"""The commands: options in, one library call, a summary and an exit code out."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.cli import options as opt
from ifttool.cli.console import announce_stdin, print_json, progress
from ifttool.cli.outcome import report_run
from ifttool.cli.stats import stats

if TYPE_CHECKING:
    from ifttool.pipeline import RunSummary

__all__ = ["mask", "render", "stats", "tokenize", "unroll"]


def render(
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    generation_prompt: opt.GenerationPrompt = False,
    plain: opt.Plain = False,
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    output: opt.StreamOutput = "-",
    force: opt.Force = False,
    max_rejects: opt.MaxRejects = "0",
    rejects: opt.Rejects = None,
    quiet: opt.Quiet = False,
) -> int:
    """Conversations → the text the model sees, and where the trained turns are in it, as JSONL."""
    from ifttool import api
    from ifttool.cli.row_stream import write_rows

    announce_stdin(inputs, quiet=quiet)
    return write_rows(
        lambda on_reject: api.render(
            inputs or "-",
            template=template,
            tokenizer=tokenizer,
            generation_prompt=generation_prompt,
            template_name=template_name,
            template_kwargs=_kwargs(template_kwargs),
            date=date,
            input_format=input_format,
            tool_arguments=tool_arguments,
            on_reject=on_reject,
        ),
        output,
        text_only=plain,
        force=force,
        max_rejects=max_rejects,
        rejects=rejects,
        quiet=quiet,
    )


def unroll(
    inputs: opt.Inputs = None,
    output: opt.UnrollOutput = "-",
    train_on: opt.UnrollTrainOn = "final-turn",
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    spans: opt.Spans = "auto",
    content_specials: opt.ContentSpecials = "text",
    max_length: opt.MaxLength = None,
    overflow: opt.Overflow = "drop",
    allow_text_markers: opt.AllowTextMarkers = False,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.UnrollToolArguments = None,
    format: opt.Format = "parquet",  # noqa: A002 - the option's name
    columns: opt.Columns = None,
    layout: opt.Layout = None,
    input: opt.WeightedInputs = None,  # noqa: A002 - the option's name
    validation: opt.Validation = None,
    shuffle: opt.Shuffle = None,
    shards: opt.Shards = None,
    shard_tokens: opt.ShardTokens = None,
    dedup: opt.Dedup = "none",
    seed: opt.Seed = 0,
    backend: opt.Backend = "auto",
    verify: opt.Verify = "sample",
    workers: opt.Workers = None,
    force: opt.Force = False,
    depfile: opt.Depfile = None,
    resume: opt.Resume = False,
    max_rejects: opt.MaxRejects = "0",
    rejects: opt.Rejects = None,
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Conversation of N assistant turns → N samples, each ending with its turn: as JSONL, or as shards with -o DIR."""
    from ifttool import api
    from ifttool.cli.row_stream import is_stream, write_rows

    common: dict[str, Any] = {"train_on": train_on, "input_format": input_format}
    of_shards: dict[str, Any] = {
        "template": template,
        "tokenizer": tokenizer,
        "template_name": template_name,
        "template_kwargs": template_kwargs,
        "date": date,
        "spans": spans,
        "max_length": max_length,
        "overflow": overflow,
        "allow_text_markers": allow_text_markers,
        "content_specials": content_specials,
        "format": format,
        "columns": columns,
        "layout": layout,
        "validation": validation,
        "shuffle": shuffle,
        "shards": shards,
        "shard_tokens": shard_tokens,
        "dedup": dedup,
        "seed": seed,
        "backend": backend,
        "verify": verify,
        "workers": workers,
        "depfile": depfile,
        "resume": resume,
    }
    if is_stream(output):
        _refuse_options(
            {**of_shards, "json": json, "input": input}, what="shards", hint="give -o a folder or a .parquet file"
        )
        announce_stdin(inputs, quiet=quiet)
        return write_rows(
            lambda on_reject: api.unroll(
                inputs or "-", tool_arguments=tool_arguments or "keep", on_reject=on_reject, **common
            ),
            output,
            force=force,
            max_rejects=max_rejects,
            rejects=rejects,
            quiet=quiet,
        )
    _refuse_options({"rejects": rejects}, what="JSONL", hint="shards have a rejects.jsonl of their own")
    of_shards["template_kwargs"] = _kwargs(template_kwargs)
    return _write_shards(
        api.unroll_shards,
        _mixture(inputs, input),
        Path(output),
        {**common, **of_shards, "tool_arguments": tool_arguments or "object", "force": force},
        max_rejects=max_rejects,
        quiet=quiet,
        json=json,
    )


def tokenize(
    output: opt.Output,
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    no_loss: opt.NoLoss = False,
    content_specials: opt.ContentSpecials = "text",
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    max_length: opt.MaxLength = None,
    overflow: opt.Overflow = "drop",
    allow_text_markers: opt.AllowTextMarkers = False,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    format: opt.Format = "parquet",  # noqa: A002 - the option's name
    columns: opt.Columns = None,
    layout: opt.Layout = None,
    input: opt.WeightedInputs = None,  # noqa: A002 - the option's name
    validation: opt.Validation = None,
    shuffle: opt.Shuffle = None,
    shards: opt.Shards = None,
    shard_tokens: opt.ShardTokens = None,
    dedup: opt.Dedup = "none",
    seed: opt.Seed = 0,
    force: opt.Force = False,
    depfile: opt.Depfile = None,
    resume: opt.Resume = False,
    backend: opt.Backend = "auto",
    verify: opt.Verify = "sample",
    workers: opt.Workers = None,
    max_rejects: opt.MaxRejects = "0",
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Conversations → shards of input_ids in which all tokens bear loss but the first of each sample; see --no-loss."""
    from ifttool import api

    options = {
        "template": template,
        "tokenizer": tokenizer,
        "no_loss": no_loss,
        "template_name": template_name,
        "template_kwargs": _kwargs(template_kwargs),
        "date": date,
        "max_length": max_length,
        "overflow": overflow,
        "allow_text_markers": allow_text_markers,
        "input_format": input_format,
        "tool_arguments": tool_arguments,
        "format": format,
        "columns": columns,
        "layout": layout,
        "validation": validation,
        "shuffle": shuffle,
        "shards": shards,
        "shard_tokens": shard_tokens,
        "dedup": dedup,
        "seed": seed,
        "force": force,
        "depfile": depfile,
        "resume": resume,
        "content_specials": content_specials,
        "backend": backend,
        "verify": verify,
        "workers": workers,
    }
    return _write_shards(
        api.tokenize, _mixture(inputs, input), output, options, max_rejects=max_rejects, quiet=quiet, json=json
    )


def mask(
    output: opt.Output,
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    train_on: opt.TrainOn = "assistant-turns",
    unroll: opt.Unroll = "never",
    on_mismatch: opt.OnMismatch = "warn",
    train_reasoning: opt.TrainReasoning = True,
    train_tool_calls: opt.TrainToolCalls = True,
    train_end_of_turn: opt.TrainEndOfTurn = True,
    turn_tokens: opt.TurnTokens = None,
    append_eos: opt.AppendEos = False,
    content_specials: opt.ContentSpecials = "text",
    boundary: opt.Boundary = "whole",
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    spans: opt.Spans = "auto",
    max_length: opt.MaxLength = None,
    overflow: opt.Overflow = "drop",
    allow_text_markers: opt.AllowTextMarkers = False,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    format: opt.Format = "parquet",  # noqa: A002 - the option's name
    columns: opt.Columns = None,
    layout: opt.Layout = None,
    input: opt.WeightedInputs = None,  # noqa: A002 - the option's name
    validation: opt.Validation = None,
    shuffle: opt.Shuffle = None,
    shards: opt.Shards = None,
    shard_tokens: opt.ShardTokens = None,
    dedup: opt.Dedup = "none",
    seed: opt.Seed = 0,
    force: opt.Force = False,
    depfile: opt.Depfile = None,
    resume: opt.Resume = False,
    backend: opt.Backend = "auto",
    verify: opt.Verify = "sample",
    workers: opt.Workers = None,
    max_rejects: opt.MaxRejects = "0",
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Conversations → shards of input_ids with loss masks. The main job, in one pass."""
    from ifttool import api

    options = {
        "template": template,
        "tokenizer": tokenizer,
        "train_on": train_on,
        "unroll": unroll,
        "on_mismatch": on_mismatch,
        "train_reasoning": train_reasoning,
        "train_tool_calls": train_tool_calls,
        "train_end_of_turn": train_end_of_turn,
        "turn_tokens": _turn_tokens(turn_tokens),
        "append_eos": append_eos,
        "content_specials": content_specials,
        "boundary": boundary,
        "template_name": template_name,
        "template_kwargs": _kwargs(template_kwargs),
        "date": date,
        "spans": spans,
        "max_length": max_length,
        "overflow": overflow,
        "allow_text_markers": allow_text_markers,
        "input_format": input_format,
        "tool_arguments": tool_arguments,
        "format": format,
        "columns": columns,
        "layout": layout,
        "validation": validation,
        "shuffle": shuffle,
        "shards": shards,
        "shard_tokens": shard_tokens,
        "dedup": dedup,
        "seed": seed,
        "force": force,
        "depfile": depfile,
        "resume": resume,
        "backend": backend,
        "verify": verify,
        "workers": workers,
    }
    return _write_shards(
        api.mask, _mixture(inputs, input), output, options, max_rejects=max_rejects, quiet=quiet, json=json
    )


def _mixture(inputs: list[str] | None, weighted: list[str] | None) -> list[str] | dict[str, str] | None:
    """Positional inputs as they are; with weighted ones, all of them with their weights."""
    if not weighted:
        return inputs
    from ifttool.arranging.mixture import mixture_of

    return mixture_of(inputs or (), weighted)


def _kwargs(text: str | None) -> Mapping[str, Any]:
    from ifttool.recipe import parse_kwargs

    return parse_kwargs(text) if text is not None else {}


def _turn_tokens(text: str | None) -> tuple[int | None, int | None]:
    from ifttool.recipe import parse_turn_tokens

    return parse_turn_tokens(text) if text is not None else (None, None)


def _refuse_options(options: Mapping[str, object], *, what: str, hint: str) -> None:
    """Refuse options of ``unroll`` that would have no effect.

    Raises:
        UsageError: One of them differs from its default.
    """
    from ifttool.errors import UsageError

    parameters = inspect.signature(unroll).parameters
    given = [name for name, value in options.items() if value != parameters[name].default]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} is for {what} only", hint=hint)


def _write_shards(
    work: "Callable[..., RunSummary]",
    inputs: list[str] | dict[str, str] | None,
    output: Path,
    options: Mapping[str, Any],
    *,
    max_rejects: str,
    quiet: bool,
    json: bool,
) -> int:
    announce_stdin(inputs, quiet=quiet)
    with progress(quiet=quiet) as show:
        summary = work(inputs or "-", output, max_rejects=max_rejects, on_progress=show, **options)
    if json:
        print_json(summary.as_json())
    return report_run(summary, output, quiet=quiet)
