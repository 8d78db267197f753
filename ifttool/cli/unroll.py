"""``ifttool unroll``: a sample for each trained turn."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifttool.cli import options as opt
from ifttool.cli.console import announce_stdin
from ifttool.cli.given import mixture, parsed_kwargs
from ifttool.cli.shards import write_shards


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
    of_shards["template_kwargs"] = parsed_kwargs(template_kwargs)
    return write_shards(
        api.unroll_shards,
        mixture(inputs, input),
        Path(output),
        {**common, **of_shards, "tool_arguments": tool_arguments or "object", "force": force},
        max_rejects=max_rejects,
        quiet=quiet,
        json=json,
    )


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
