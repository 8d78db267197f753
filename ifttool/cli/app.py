"""The ``ifttool`` command. Imports of commands are light; each loads what it needs when it runs."""

import os
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperOption

from ifttool import __version__
from ifttool.cli.console import say
from ifttool.cli.export import export
from ifttool.cli.mask import mask
from ifttool.cli.pack import pack
from ifttool.cli.process import leave
from ifttool.cli.render import render
from ifttool.cli.run import DONE, INTERRUPTED, Ending, command, io_failed
from ifttool.cli.run_recipe import run
from ifttool.cli.show import show
from ifttool.cli.stats import stats
from ifttool.cli.templates import templates_app
from ifttool.cli.tokenize import tokenize
from ifttool.cli.unroll import unroll
from ifttool.cli.verify import verify

app = typer.Typer(
    name="ifttool",
    help="Turn chat conversations into training shards with loss masks that are right on every chat template.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ifttool {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of ifttool itself."""


app.command()(command(render))
app.command()(command(tokenize))
app.command()(command(mask))
app.command()(command(unroll))
app.command()(command(stats))
app.command()(command(show))
app.command()(command(export))
app.command()(command(pack))
app.command()(command(verify))
app.command()(command(run))
app.add_typer(templates_app, name="templates")


def command_line() -> None:
    """Run the command line in this process.

    Raises:
        SystemExit: Always, with the exit code.
    """
    if "_IFTTOOL_COMPLETE" in os.environ:
        # Completion needs no option's value, and Typer 0.29 imports pydantic to convert the first one, which takes as
        # long as everything else together.
        for kind in (TyperOption, TyperArgument):
            kind.process_value = _as_typed  # type: ignore[assignment]
    app()


def main() -> None:
    """Entry point of the console script."""
    Ending.by = leave
    try:
        command_line()
    except SystemExit as left:
        # Commands have left by now: what comes here is Typer's own.
        if left.code == INTERRUPTED:
            say("ifttool: interrupted")
        # Typer's 1 is a reader of the help that went away (`| head`), which is its right.
        leave(left.code if isinstance(left.code, int) and left.code != 1 else DONE)
    except OSError as error:  # help that has nowhere to go
        leave(io_failed(error))


def _as_typed(_parameter: Any, _context: Any, value: Any) -> Any:
    return value
