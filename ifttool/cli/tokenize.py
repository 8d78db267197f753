"""``ifttool tokenize``: shards without masks."""

from ifttool.cli import options as opt
from ifttool.cli.given import mixture, parsed_kwargs
from ifttool.cli.shards import write_shards


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
        "template_kwargs": parsed_kwargs(template_kwargs),
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
    return write_shards(
        api.tokenize, mixture(inputs, input), output, options, max_rejects=max_rejects, quiet=quiet, json=json
    )
