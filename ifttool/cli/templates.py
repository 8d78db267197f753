"""``ifttool templates``: look at templates, and examine one before anything is trained on it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifttool.cli import options as opt
from ifttool.cli.console import RejectReporter, announce_stdin, print_json, say
from ifttool.cli.run import DATA, DONE, command
from ifttool.words import counted

if TYPE_CHECKING:
    from ifttool.doctor.diagnosis import Diagnosis
    from ifttool.recipe import Recipe
    from ifttool.tokenizer.load import Tokenizer

templates_app = typer.Typer(help="List, show and examine chat templates.", no_args_is_help=True, rich_markup_mode=None)

Template = Annotated[
    str,
    typer.Argument(
        metavar="TEMPLATE",
        help="A built-in name, a .jinja file, a tokenizer folder or a hub id.",
        show_default=False,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Argument(metavar="DATA...", help="Conversations to try it on: JSONL or Parquet, or -.", show_default=False),
]
OwnTokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="DIR",
        help="Tokenizer to check the template's markers with. [default: TEMPLATE's own, if it is a folder]",
        show_default=False,
    ),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many rows of DATA to look at.")]
JsonReport = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def list_templates(json: JsonReport = False) -> int:
    """Names of the built-in templates, the models they are for, and what they can write."""
    from ifttool.doctor.catalogue import builtin_entries
    from ifttool.report.text import table

    entries = builtin_entries()
    if json:
        print_json({"templates": [entry.as_json() for entry in entries]})
        return DONE
    rows = [[entry.name, ", ".join(entry.tags), entry.used_by] for entry in entries]
    for line in table(rows, left=frozenset({0, 1, 2})):
        sys.stdout.write(f"{line}\n")
    return DONE


def show(template: Template, template_name: opt.TemplateName = None) -> int:
    """Print a template's text, exactly as it is used."""
    from ifttool.template.sources import load_template

    text = load_template(template, name=template_name).text
    sys.stdout.write(text)
    if sys.stdout.isatty() and not text.endswith("\n"):
        sys.stdout.write("\n")
    return DONE


def doctor(
    template: Template,
    data: Data = None,
    tokenizer: OwnTokenizer = None,
    limit: Limit = 1000,
    template_name: opt.TemplateName = None,
    template_kwargs: opt.TemplateKwargs = None,
    date: opt.Date = None,
    input_format: opt.InputFormat = "auto",
    tool_arguments: opt.ToolArguments = "object",
    quiet: opt.Quiet = False,
    json: JsonReport = False,
) -> int:
    """What a template does to training text: turns, endings, lost and added text, tools, reasoning, tokens.

    Exit code 1 if anything is a "fail": plain chats lose text, or are trained where no server would put the model.
    """
    from ifttool.recipe import parse_kwargs
    from ifttool.resolve import resolve_recipe

    own = _own_tokenizer(template) if tokenizer is None else tokenizer
    recipe = resolve_recipe(
        template=template,
        template_name=template_name,
        **({} if own is None else {"tokenizer": own}),
        template_kwargs=parse_kwargs(template_kwargs) if template_kwargs is not None else {},
        date=date,
        input_format=input_format,
        tool_arguments=tool_arguments,
    )
    diagnosis = _diagnose(recipe, data, template=template, has_tokenizer=own is not None, limit=limit, quiet=quiet)
    if json:
        print_json(diagnosis.as_json())
    else:
        from ifttool.doctor.report import diagnosis_text

        text = diagnosis_text(diagnosis)
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return DATA if diagnosis.has_failed else DONE


def _own_tokenizer(template: str) -> str | None:
    """The tokenizer that stands beside a template, if the template is given as its folder."""
    folder = Path(template)
    return template if folder.is_dir() and (folder / "tokenizer.json").is_file() else None


def _diagnose(
    recipe: "Recipe", data: list[str] | None, *, template: str, has_tokenizer: bool, limit: int, quiet: bool
) -> "Diagnosis":
    from ifttool.doctor.diagnosis import diagnose
    from ifttool.io.source import expand_inputs
    from ifttool.ledger import Tally
    from ifttool.streams import conversations
    from ifttool.tokenizer.load import load_tokenizer
    from ifttool.tokenizer.special_tokens import special_tokens

    loaded: Tokenizer = load_tokenizer(recipe.tokenizer)
    folder = Path(template)
    # A folder without tokenizer.json still says what its special tokens are.
    named = special_tokens(folder) if folder.is_dir() and not has_tokenizer else loaded.special_tokens
    reporter = RejectReporter(quiet=quiet)
    tally = Tally()
    rows = None
    if data:
        announce_stdin(data, quiet=quiet)
        rows = conversations(
            expand_inputs(data), recipe, tally, lambda place, _data, error, kind: reporter(place, error, kind)
        )
    diagnosis = diagnose(
        recipe,
        special_tokens=named,
        tokenizer=loaded if has_tokenizer else None,
        rows=rows,
        limit=limit,
    )
    reporter.close()
    unreadable = sum(ledger.rejected.total() for ledger in tally.sources.values())
    if unreadable and not quiet:
        say(f"{counted(unreadable, 'unreadable row')} left out")
    return diagnosis


templates_app.command("list")(command(list_templates))
templates_app.command("show")(command(show))
templates_app.command("doctor")(command(doctor))
