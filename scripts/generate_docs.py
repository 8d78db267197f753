"""Write docs/commands.md from what `ifttool COMMAND --help` knows, and the README's table of trainers.

The page has one table of options a command, built from the options themselves, not from the printed help, whose layout
depends on the version of Typer. The table of trainers is that of docs/trainers.md without the names of tests.

Usage: python scripts/generate_docs.py [--check]
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ifttool.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "docs" / "commands.md"
TRAINERS = ROOT / "docs" / "trainers.md"
README = ROOT / "README.md"
MARKED = re.compile(r"(?<=<!-- trainers -->\n).*?(?=<!-- end -->)", re.DOTALL)
NAMED_TEST = re.compile(r" by `[^`]+`(?: and its neighbours)?")


def pages() -> dict[Path, str]:
    """The pages that are written here, whole."""
    readme, tables = MARKED.subn(lambda _found: f"\n{trainers_table()}\n", README.read_text(encoding="utf-8"))
    assert tables == 1, "the README has no place for the table of trainers"
    return {COMMANDS: commands_page(), README: readme}


def trainers_table() -> str:
    """The first table of docs/trainers.md, without the names of tests."""
    lines = TRAINERS.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = lines.index("", start)
    return "".join(NAMED_TEST.sub("", line) + "\n" for line in lines[start:end])


def commands_page() -> str:
    """All of docs/commands.md."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "<!-- Written by scripts/generate_docs.py; `make docs` writes it anew. -->",
        "",
        group.help,
        "",
        "Data goes to standard output, messages to standard error. Exit codes:",
        "",
        "| code | meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | more rows were rejected than `--max-rejects` allows; `verify` found a difference, `templates doctor` a "
        "failure, `show` no such sample |",
        "| 2 | options or inputs can't be used, and nothing was written; `verify` couldn't check everything |",
        "| 3 | I/O or internal failure |",
        "| 130, 143 | interrupted, terminated |",
        "",
        "Set `IFTTOOL_DEBUG=1` for the traceback of an internal error.",
    ]
    for name, command in _commands(group, "ifttool"):
        lines += ["", f"## {name}", "", *_command(command)]
    return "\n".join(lines) + "\n"


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """All commands under their full names, also those of groups."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _command(command: Any) -> Iterator[str]:
    yield from command.help.splitlines()
    yield from ("", "| option | meaning | default |", "|---|---|---|")
    for parameter in command.params:
        names = [parameter.metavar] if parameter.param_type_name == "argument" else parameter.opts
        value = "" if parameter.param_type_name == "argument" or parameter.is_flag else f" {parameter.metavar}"
        shown = ", ".join(f"`{name}{value}`" for name in names).replace("|", "\\|")
        text, default = _default(parameter)
        yield f"| {shown} | {text} | {default} |"


def _default(parameter: Any) -> tuple[str, str]:
    """The help text of an option without its default, and the default."""
    text, bracket, noted = (parameter.help or "").partition(" [default: ")
    text = text.replace("|", "\\|")
    if bracket:
        return text, noted.rstrip("]")
    if parameter.required:
        return text, "required"
    if parameter.param_type_name == "argument" or parameter.is_flag or parameter.default is None:
        return text, ""
    return text, f"`{parameter.default}`"


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check only say whether they are up to date."""
    outdated = {
        page: text for page, text in pages().items() if not page.exists() or page.read_text(encoding="utf-8") != text
    }
    if "--check" in arguments:
        return int(bool(outdated))
    for page, text in outdated.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
