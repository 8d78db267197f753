"""Write docs/commands.md from what `ifttool COMMAND --help` knows: one table of options a command.

Built from the options themselves, not from the printed help, whose layout depends on the version of Typer.

Usage: python scripts/generate_docs.py [--check]
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ifttool.cli.app import app

TARGET = Path(__file__).resolve().parents[1] / "docs" / "commands.md"


def document() -> str:
    """The whole page."""
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
        "| 1 | more rows were rejected than `--max-rejects` allows |",
        "| 2 | options, inputs, template or tokenizer can't be used; nothing was written |",
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
    """Write the page, or with --check only say whether it is up to date."""
    text = document()
    if "--check" in arguments:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
