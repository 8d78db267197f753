"""The commands: options in, one library call, a summary and an exit code out."""

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.cli import options as opt
from ifttool.cli.console import RejectReporter, print_json, progress, summarize
from ifttool.cli.run import DATA, DONE
from ifttool.cli.stats import stats

if TYPE_CHECKING:
    from ifttool.ledger import Tally
    from ifttool.pipeline import RunSummary
    from ifttool.recipe import Recipe

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
    from ifttool.streams import render_rows
    from ifttool.tokenizer.load import load_tokenizer
    from ifttool.worker import build_template

    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        input_format=input_format,
        tool_arguments=tool_arguments,
        generation_prompt=generation_prompt,
    )
    compiled = build_template(recipe, load_tokenizer(recipe.tokenizer).special_tokens)
    stream = _Stream(output, force=force, max_rejects=max_rejects, rejects=rejects, quiet=quiet)
    with stream:
        rows = render_rows(_sources(inputs), recipe, compiled, stream.tally, stream.refuse)
        if plain:
            stream.write_text(row["text"] for row in rows)
        else:
            stream.write_rows(rows)
    return stream.finish()


def unroll(
    inputs: opt.Inputs = None,
    output: opt.UnrollOutput = "-",
    train_on: opt.TrainOn = "final-turn",
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
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
    force: opt.Force = False,
    max_rejects: opt.MaxRejects = "0",
    rejects: opt.Rejects = None,
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Conversation of N assistant turns → N samples, each ending with its turn: as JSONL, or as shards with -o DIR.

    With --train-on assistant-turns earlier turns are trained in each sample too.
    """
    if output == "-" or output.endswith((".jsonl", ".json")):
        from ifttool.streams import unroll_rows

        recipe = _recipe(
            template="chatml",  # not rendered: rows go out as they came in
            input_format=input_format,
            tool_arguments="keep" if tool_arguments == "object" else tool_arguments,
            train_on=train_on,
        )
        stream = _Stream(output, force=force, max_rejects=max_rejects, rejects=rejects, quiet=quiet)
        with stream:
            stream.write_rows(unroll_rows(_sources(inputs), recipe, stream.tally, stream.refuse))
        return stream.finish()
    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        spans=spans,
        max_length=max_length,
        overflow=overflow,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
        unroll="always",
        train_history=train_on == "assistant-turns",
    )
    return _run_shards(
        recipe,
        inputs,
        Path(output),
        file_format=format,
        force=force,
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
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    max_length: opt.MaxLength = None,
    overflow: opt.Overflow = "drop",
    allow_text_markers: opt.AllowTextMarkers = False,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    format: opt.Format = "parquet",  # noqa: A002 - the option's name
    force: opt.Force = False,
    max_rejects: opt.MaxRejects = "0",
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Conversations → shards of input_ids in which every token bears loss, or with --no-loss none does."""
    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        train_on="all-tokens",
        max_length=max_length,
        overflow=overflow,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
        bears_loss=not no_loss,
    )
    columns = ("input_ids", "attention_mask") if no_loss else None
    return _run_shards(
        recipe,
        inputs,
        output,
        columns=columns,
        file_format=format,
        force=force,
        max_rejects=max_rejects,
        quiet=quiet,
        json=json,
    )


def mask(
    output: opt.Output,
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: opt.TokenizerOption = "default",
    train_on: opt.TrainOn = "assistant-turns",
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
    force: opt.Force = False,
    max_rejects: opt.MaxRejects = "0",
    quiet: opt.Quiet = False,
    json: opt.Json = False,
) -> int:
    """Conversations → shards of input_ids with loss masks. The main job, in one pass."""
    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        train_on=train_on,
        spans=spans,
        max_length=max_length,
        overflow=overflow,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
    )
    return _run_shards(
        recipe,
        inputs,
        output,
        file_format=format,
        force=force,
        max_rejects=max_rejects,
        quiet=quiet,
        json=json,
    )


def _recipe(*, template_kwargs: str | None = None, **options: Any) -> "Recipe":
    from ifttool.recipe import parse_kwargs
    from ifttool.resolve import resolve_recipe

    kwargs = parse_kwargs(template_kwargs) if template_kwargs is not None else {}
    return resolve_recipe(template_kwargs=kwargs, **options)


def _sources(inputs: list[str] | None) -> list[str]:
    from ifttool.io.source import expand_inputs

    return expand_inputs(inputs or ["-"])


def _run_shards(
    recipe: "Recipe",
    inputs: list[str] | None,
    output: Path,
    *,
    columns: tuple[str, ...] | None = None,
    file_format: str,
    force: bool,
    max_rejects: str,
    quiet: bool,
    json: bool,
) -> int:
    from ifttool.pipeline import Target, run_shards
    from ifttool.schema import COLUMNS
    from ifttool.tolerance import Tolerance

    target = Target.of(output, file_format=file_format, columns=columns or COLUMNS, force=force)
    with progress(quiet=quiet) as show:
        summary = run_shards(
            recipe,
            _sources(inputs),
            target,
            tolerance=Tolerance.parse(max_rejects),
            on_progress=show,
        )
    return _conclude(summary, output, quiet=quiet, json=json)


def _conclude(summary: "RunSummary", output: Path, *, quiet: bool, json: bool) -> int:
    from ifttool.cli.console import show_rejects

    if summary.rejects is not None:
        show_rejects(summary.rejects, quiet=quiet)
    if json:
        print_json(summary.as_json())
    if not quiet:
        summarize(summary.tally, wrote=str(output) if summary.committed else None)
    return _verdict(summary.committed, summary.tally, summary.rejects)


def _verdict(committed: bool, tally: "Tally", rejects: Path | None) -> int:
    from ifttool.cli.console import say

    if committed:
        return DONE
    where = f" They are in {rejects}." if rejects is not None else ""
    say(
        f"ifttool: {tally.total.rejected.total():,} rows were rejected, more than --max-rejects allows: "
        f"the output isn't complete.{where}"
    )
    return DATA


class _Stream:
    """JSON rows on standard output or in a file, with the same ledger and tolerance as shards."""

    def __init__(
        self, output: str, *, force: bool, max_rejects: str, rejects: Path | None, quiet: bool
    ) -> None:
        from ifttool.ledger import Tally
        from ifttool.tolerance import Tolerance

        self.tally: Tally = Tally()
        self._output, self._force, self._quiet = output, force, quiet
        self._tolerance = Tolerance.parse(max_rejects)
        self._rejects_path = rejects
        self._reporter = RejectReporter(quiet=quiet)
        self._stack = ExitStack()

    def __enter__(self) -> "_Stream":
        from ifttool.io.atomic import atomic_writer
        from ifttool.output import check_new_file

        if self._output == "-":
            self._out: Any = sys.stdout.buffer
        else:
            path = Path(self._output)
            check_new_file(path, force=self._force)
            self._out = self._stack.enter_context(atomic_writer(path))
        self._rejects: Any = None
        if self._rejects_path is not None:
            self._rejects = self._stack.enter_context(atomic_writer(self._rejects_path))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)
        self._reporter.close()

    def refuse(self, place: Any, data: bytes | None, error: Any, kind: str) -> None:
        """Book a row that is left out."""
        self._reporter(place, error, kind)
        if self._rejects is not None:
            from ifttool.ledger import reject_line

            self._rejects.write(reject_line(place, data, error, kind=kind))

    def write_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows as JSON lines."""
        import msgspec

        encode = msgspec.json.Encoder().encode
        for row in rows:
            self._out.write(encode(row) + b"\n")

    def write_text(self, texts: Iterable[str]) -> None:
        """Texts as they are, a line end after each."""
        for text in texts:
            self._out.write(text.encode("utf-8") + b"\n")

    def finish(self) -> int:
        """Check the ledger, say what happened, and give the exit code."""
        if self._output == "-":
            self._out.flush()
        self.tally.check()
        committed = self._tolerance.allows(self.tally.total)
        if not self._quiet:
            summarize(self.tally, wrote=None if self._output == "-" else self._output)
        return _verdict(committed, self.tally, self._rejects_path)
