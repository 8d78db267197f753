"""Recipe files: a whole chain of steps in one TOML file, under the names of the command line."""

import glob
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifttool.errors import UsageError
from ifttool.io.inputs import STDIN, printable
from ifttool.nearest import nearest_name
from ifttool.running.keys import flag, option_types, option_value
from ifttool.template.sources import builtin_names
from ifttool.tokenizer.locate import DEFAULT_TOKENIZER

Inputs = str | Sequence[str] | Mapping[str, Any]
PACK = "pack"
"""The table of the second step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One function to call.

    Attributes:
        name: Its command.
        inputs: What it reads; a mapping says how much of each.
        output: Where it writes.
        options: Keyword options.
    """

    name: str
    inputs: list[str] | dict[str, Any]
    output: str
    options: dict[str, Any]


Functions = Mapping[str, Callable[..., Any]]
"""Command → the public function behind it. ``pack`` takes the output of another."""


def read_recipe(path: Path, functions: Functions, *, output: str | None = None) -> list[Step]:
    """The steps that a recipe file asks for.

    Args:
        path: The file. Relative paths in it are relative to its folder.
        functions: What steps can be; the first is the default of ``command``.
        output: Write here instead of the file's ``output``.

    Raises:
        UsageError: The file can't be read, isn't TOML, or holds an unknown key or a value of a wrong type.
    """
    shown = printable(str(path))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {shown}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{shown} isn't TOML: {error}") from None
    return _steps(table, _File(shown, path.parent), functions, output=output)


def _steps(table: dict[str, Any], file: "_File", functions: Functions, *, output: str | None) -> list[Step]:
    commands = [name for name in functions if name != PACK]
    command = table.get("command", commands[0])
    if command not in commands:
        choice = f"choose one of {', '.join(commands)}"
        raise UsageError(f"{file.name}: command can't be {command!r}", hint=choice)
    packs = table.get(PACK)
    if packs is not None and not isinstance(packs, dict):
        raise UsageError(f"{file.name}: {PACK} must be a table", hint=f"write [{PACK}] and its keys below")
    if packs is not None and output is not None:
        raise UsageError(f"{file.name} has two outputs, of {command} and of {PACK}", hint="name both in the file")
    kinds = {"inputs": Inputs, "output": str} | option_types(functions[command])
    values = file.values(table, kinds, prefix="", others=("command", PACK))
    if "inputs" not in values:
        raise UsageError(f"{file.name}: inputs is missing", hint='name files, or "-" for standard input')
    inputs = file.inputs(values.pop("inputs"))
    target = output or file.output(values, prefix="")
    values.pop("output", None)
    steps = [Step(command, inputs, target, values)]
    if packs is not None:
        options = file.values(packs, {"output": str} | option_types(functions[PACK]), prefix=f"{PACK}.")
        packed = file.output(options, prefix=f"{PACK}.")
        del options["output"]
        steps.append(Step(PACK, [target], packed, options))
    return steps


@dataclass(frozen=True, slots=True)
class _File:
    """Where values come from: the file's name for messages, and its folder."""

    name: str
    folder: Path

    def values(
        self, table: Mapping[str, Any], kinds: Mapping[str, Any], *, prefix: str, others: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The options of a table, checked, by parameter name."""
        known = {flag(name): name for name in kinds}
        values = {}
        for key, value in table.items():
            if key in others:
                continue
            if key not in known:
                near = nearest_name(key.lower(), [*known, *others])
                hint = f"did you mean {prefix}{near}?" if near else "ifttool run --show prints all keys"
                raise UsageError(f"{self.name}: there is no key {prefix}{key}", hint=hint)
            name = known[key]
            place = f"{self.name}: {prefix}{key}"
            values[name] = self._placed(name, option_value(value, kinds[name], name=name, place=place))
        return values

    def inputs(self, given: str | list[str] | dict[str, Any]) -> list[str] | dict[str, Any]:
        """Inputs beside the file."""
        names = [given] if isinstance(given, str) else list(given)
        if not names or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{self.name}: inputs must be strings, one or several, or a table of weights")
        if isinstance(given, dict):
            return {self._input(name): weight for name, weight in given.items()}
        return [self._input(name) for name in names]

    def output(self, values: Mapping[str, Any], *, prefix: str) -> str:
        """The output beside the file.

        Raises:
            UsageError: There is none.
        """
        if "output" not in values:
            raise UsageError(f"{self.name}: {prefix}output is missing", hint="name a folder, in the file or with -o")
        return self._beside(values["output"])

    def _placed(self, name: str, value: Any) -> Any:
        """Paths of options, from the folder of the file."""
        if name == "tokenizer" and value == DEFAULT_TOKENIZER and not (self.folder / value).exists():
            return value
        if name in ("tokenizer", "depfile") or (name == "template" and not self._is_name(value)):
            return self._beside(value)
        return value

    def _is_name(self, template: str) -> bool:
        """Whether a template is meant by a name rather than by a path: paths win if they exist."""
        if (self.folder / template).exists():
            return False
        is_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", template) and not template.endswith((".jinja", ".json"))
        return template in builtin_names() or bool(is_hub_id)

    def _beside(self, path: str) -> str:
        return os.fspath(self.folder / Path(path).expanduser())

    def _input(self, name: str) -> str:
        if name == STDIN:
            return name
        beside = self._beside(name)
        if glob.has_magic(name) and not Path(beside).exists() and not Path(name).is_absolute():
            # The folder's own name isn't a pattern.
            return os.fspath(Path(glob.escape(os.fspath(self.folder))) / name)
        return beside
