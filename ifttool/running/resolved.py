"""What a recipe file amounts to, as TOML: every key with the value that counts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ifttool.manifest import read_manifest
from ifttool.packing.schema import FORMAT as PACKED
from ifttool.resolve import DEFAULT_TEMPLATE
from ifttool.running.keys import flag, option_types
from ifttool.running.recipe_file import PACK, Functions, Step
from ifttool.running.toml_text import toml_text
from ifttool.schema import FORMAT
from ifttool.tokenizer.locate import DEFAULT_TOKENIZER


def resolved_text(steps: Sequence[Step], functions: Functions, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    """The steps as a recipe file.

    Args:
        steps: What is to be done.
        functions: Their functions.
        defaults: For each command, what its options are if they aren't given.
    """
    table: dict[str, Any] = {}
    for step in steps:
        values = {
            flag(name): step.options.get(name, defaults[step.name].get(name))
            for name in option_types(functions[step.name])
        }
        if step.name == PACK:
            table[PACK] = {"output": step.output, **values}
        else:
            table = {"command": step.name, "inputs": step.inputs, "output": step.output, **_settled(values)}
    return toml_text(table)


def manifest_text(path: Path) -> str:
    """The recipe of a manifest, to be read: it names its template, whose text stands in the output.

    Raises:
        UsageError: It isn't a manifest.
    """
    manifest = read_manifest(path, FORMAT, PACKED)
    if manifest["format"] == PACKED:
        return toml_text({"inputs": list(manifest["input_files"]), PACK: manifest["options"]})
    recipe = {
        **manifest["recipe"],
        "template": manifest["template"]["name"],
        "turn_tokens": _limits(manifest["recipe"]["turn_tokens"]),
    }
    table = {"inputs": list(manifest["input_files"]), **recipe, **manifest["options"]}
    return toml_text({flag(name): value for name, value in table.items()})


def _settled(values: dict[str, Any]) -> dict[str, Any]:
    """Values whose default depends on other options or on the day."""
    own_template = DEFAULT_TEMPLATE if values["tokenizer"] == DEFAULT_TOKENIZER else values["tokenizer"]
    values["template"] = values["template"] or own_template
    if "tool-arguments" in values:  # of unroll: it depends on the kind of output
        values["tool-arguments"] = values["tool-arguments"] or "object"
    values["date"] = values["date"] or datetime.now(UTC).date().isoformat()
    values["turn-tokens"] = _limits(values.get("turn-tokens"))
    return values


def _limits(limits: Sequence[int | None] | None) -> str | None:
    """Limits as they are written on the command line."""
    if limits is None or not any(limit is not None for limit in limits):
        return None
    low, high = ("" if limit is None else limit for limit in limits)
    return f"{low}:{high}"
