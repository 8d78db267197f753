"""``ifttool show``: samples in the terminal, trained tokens marked."""

import json as json_module
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import announce_stdin, say
from ifttool.cli.given import parsed_kwargs, parsed_turn_tokens
from ifttool.cli.run import DATA, DONE
from ifttool.errors import UsageError

if TYPE_CHECKING:
    from ifttool.show.render import Style
    from ifttool.show.rows import Choice

Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="DIR",
        help="Folder with tokenizer.json, or the file itself. [default: the small one in the package; for shards "
        "the one beside them]",
        show_default=False,
    ),
]
Row = Annotated[
    list[int] | None,
    typer.Option("--row", metavar="N", min=1, help="Only row N: the line number of the input. Repeatable."),
]
Id = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Only the row of this id. Repeatable.")]
Verdict = Annotated[
    list[str] | None,
    typer.Option(
        "--verdict",
        metavar="NAME",
        help="Only samples whose worst verdict is exact, history, prompt, dropped or none. Repeatable.",
    ),
]
Code = Annotated[
    list[str] | None,
    typer.Option("--code", metavar="CODE", help="Only samples and rejected rows with this code. Repeatable."),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Stop after N; 0 for all.")]
Table = Annotated[bool, typer.Option("--table/--no-table", help="List every span, its fate and why.")]
Ids = Annotated[bool, typer.Option("--ids", help="List every token with its id.")]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="KEY=VALUE",
        help="Compare with a second setting, in which this option is changed: which tokens change sides, and why. "
        "Every row that is chosen is compared; --limit is for what is printed. Repeatable.",
    ),
]
Color = Annotated[str, typer.Option("--color", metavar="WHEN", help="auto, always or never.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def show(
    inputs: opt.Inputs = None,
    template: opt.TemplateOption = None,
    tokenizer: Tokenizer = None,
    row: Row = None,
    id: Id = None,  # noqa: A002 - the option's name
    verdict: Verdict = None,
    code: Code = None,
    limit: Limit = 3,
    table: Table = True,
    ids: Ids = False,
    against: Against = None,
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
    color: Color = "auto",
    json: Json = False,
) -> int:
    """Look at samples: which tokens are trained, and why each is.

    INPUT may also be an output folder of ifttool, or .parquet and .arrow shards; options about templates and
    conversations don't apply then, and there are no reasons.
    """
    from ifttool.api import stats_sources
    from ifttool.show.rows import Choice

    printer = _Printer(color, json=json, table=table, ids=ids)
    choice = Choice(frozenset(row or ()), frozenset(id or ()), frozenset(verdict or ()), frozenset(code or ()))
    options = {
        "template": template,
        "tokenizer": tokenizer or "default",
        "train_on": train_on,
        "unroll": unroll,
        "on_mismatch": on_mismatch,
        "train_reasoning": train_reasoning,
        "train_tool_calls": train_tool_calls,
        "train_end_of_turn": train_end_of_turn,
        "turn_tokens": parsed_turn_tokens(turn_tokens),
        "append_eos": append_eos,
        "content_specials": content_specials,
        "boundary": boundary,
        "template_name": template_name,
        "template_kwargs": parsed_kwargs(template_kwargs),
        "date": date,
        "spans": spans,
        "max_length": max_length,
        "overflow": overflow,
        "allow_text_markers": allow_text_markers,
        "input_format": input_format,
        "tool_arguments": tool_arguments,
    }
    sources, finished = stats_sources(inputs or ["-"])
    announce_stdin(sources)
    if against:
        if finished:
            raise UsageError("--against compares settings of conversations; these are finished shards")
        return _compare(sources, options, against, choice=choice, limit=limit, printer=printer)
    shown = 0
    items = _items(sources, options, choice, finished=finished, tokenizer=tokenizer)
    for item in islice(items, min(limit, sys.maxsize) or None):
        printer.item(item)
        shown += 1
    if not shown:
        say("ifttool: no sample is like that")
    return DONE if shown else DATA


def _items(
    sources: list[str], options: dict[str, Any], choice: "Choice", *, finished: bool, tokenizer: str | None
) -> Iterator[Any]:
    if finished:
        from ifttool.show.finished import shard_samples

        return shard_samples(sources, choice, tokenizer=tokenizer)
    from ifttool.resolve import resolve_recipe
    from ifttool.show.rows import explained

    return explained(sources, resolve_recipe(**options), choice)


def _compare(
    sources: list[str],
    options: dict[str, Any],
    against: list[str],
    *,
    choice: "Choice",
    limit: int,
    printer: "_Printer",
) -> int:
    from ifttool.resolve import resolve_recipe
    from ifttool.show.differing import DiffCounts
    from ifttool.show.rows import differences
    from ifttool.show.settings import changed_options

    recipes = (resolve_recipe(**options), resolve_recipe(**changed_options(options, against)))
    counts = DiffCounts()
    shown = 0
    for difference in differences(sources, recipes, choice):
        counts.add(difference)
        if difference.kind != "same" and (not limit or shown < limit):
            printer.difference(difference)
            shown += 1
    printer.counts(counts)
    return DONE


class _Printer:
    """Writes to standard output, as text or as JSON lines."""

    def __init__(self, color: str, *, json: bool, table: bool, ids: bool) -> None:
        self._json, self._table, self._ids = json, table, ids
        self._is_utf8 = (sys.stdout.encoding or "ascii").lower().replace("-", "").startswith("utf")
        self._colour = _wants_colour(color)
        self._written = False

    def item(self, item: Any) -> None:
        """One sample, or one rejected row."""
        from ifttool.show.explanation import Explanation
        from ifttool.show.render import item_text

        if self._json:
            self._dump(item.as_json(ids=self._ids) if isinstance(item, Explanation) else item.as_json())
        else:
            self._text(item_text(item, self._style, spans=self._table, ids=self._ids))

    def difference(self, difference: Any) -> None:
        """One sample that differs."""
        from ifttool.show.render import difference_text

        if self._json:
            self._dump(difference.as_json(ids=self._ids))
        else:
            self._text(difference_text(difference, self._style))

    def counts(self, counts: Any) -> None:
        """The summary of a comparison."""
        from ifttool.show.render import counts_text

        if self._json:
            self._dump({"kind": "summary", **counts.as_json()})
        else:
            self._text(counts_text(counts))

    @property
    def _style(self) -> "Style":
        from ifttool.show.render import Style

        return Style(colour=self._colour, ascii_only=not self._is_utf8)

    def _text(self, text: str) -> None:
        sys.stdout.write(f"\n{text}" if self._written else text)
        self._written = True

    def _dump(self, value: dict[str, Any]) -> None:
        # JSON leaves control characters above U+007F as they are, and some drive terminals.
        plain = not self._is_utf8 or sys.stdout.isatty()
        sys.stdout.write(json_module.dumps(value, ensure_ascii=plain) + "\n")


def _wants_colour(when: str) -> bool:
    """Whether to colour: NO_COLOR (https://no-color.org) and dumb terminals turn ``auto`` off."""
    if when not in ("auto", "always", "never"):
        raise UsageError(f"--color can't be {when!r}", hint="choose auto, always or never")
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
