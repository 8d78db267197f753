"""``KEY=VALUE`` → recipe options, for the other side of a comparison."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ifttool.errors import UsageError
from ifttool.recipe import Recipe, parse_kwargs, parse_turn_tokens
from ifttool.resolve import resolve_recipe

_BOOLEANS = {"true": True, "false": False}


def changed_options(options: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Options of ``resolve_recipe`` with some of them changed.

    Args:
        options: The first setting.
        changes: ``KEY=VALUE`` each; keys are those of the command line without dashes in front.

    Raises:
        UsageError: There is no such option, or it can't have this value.
    """
    return {**options, **dict(_parsed(change) for change in changes)}


def _parsed(change: str) -> tuple[str, Any]:
    key, equals, text = change.partition("=")
    if not equals:
        raise UsageError(f"--against can't be {change!r}", hint="write it as KEY=VALUE, such as template=chatml")
    name = key.strip().removeprefix("--").replace("-", "_")
    kinds = {field.name: field.type for field in fields(Recipe)}
    known = (kinds.keys() | inspect.signature(resolve_recipe).parameters.keys()) - {"options"}
    if name not in known:
        choices = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise UsageError(f"--against knows no option {key!r}", hint=f"choose one of {choices}")
    return name, _value(name, kinds.get(name, str), text)


def _value(name: str, kind: Any, text: str) -> Any:
    if name == "template_kwargs":
        return parse_kwargs(text)
    if name == "turn_tokens":
        return parse_turn_tokens(text)
    if kind is bool:
        if text not in _BOOLEANS:
            raise UsageError(f"--against {name.replace('_', '-')}={text}: it must be true or false")
        return _BOOLEANS[text]
    if kind == int | None:
        try:
            return None if text == "none" else int(text)
        except ValueError:
            raise UsageError(f"--against {name.replace('_', '-')}={text}: it must be a number or none") from None
    return text
