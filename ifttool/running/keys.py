"""The keys of recipe files: the options of public functions, read off their signatures."""

import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Union, get_args, get_origin, get_type_hints

from ifttool.errors import UsageError
from ifttool.recipe import parse_kwargs, parse_turn_tokens

_NOT_IN_FILES = frozenset(("stdin", "on_progress", "on_reject"))
"""Parameters that take objects of the caller."""


def flag(name: str) -> str:
    """The spelling of an option on the command line and in recipe files."""
    return name.replace("_", "-")


def option_types(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword options of a public function and what they take, those behind ``**options`` too."""
    types_of: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            types_of[name] = parameter.annotation
        elif parameter.kind is parameter.VAR_KEYWORD:
            types_of |= get_type_hints(get_args(parameter.annotation)[0])
    return {name: kind for name, kind in types_of.items() if name not in _NOT_IN_FILES}


def option_value(value: Any, kind: Any, *, name: str, place: str) -> Any:
    """A value of a recipe file as its function takes it.

    Args:
        value: As TOML has it.
        kind: The annotation of the option.
        name: The option.
        place: File and key, for messages.

    Raises:
        UsageError: It is of another type, or no such value.
    """
    wanted = _toml_types(kind)
    if type(value) not in wanted and not (float in wanted and type(value) is int):
        names = " or ".join(_NAMES[one] for one in wanted)
        hint = 'dates are strings here: write it as "2026-01-31"' if isinstance(value, date) else ""
        raise UsageError(f"{place} must be {names}, not {_NAMES.get(type(value), 'that')}", hint=hint)
    try:
        if name == "template_kwargs":
            return _mapping(value)
        # Limits are written as on the command line.
        return parse_turn_tokens(value) if name == "turn_tokens" else value
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", hint=error.hint) from None


_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "a list",
}


def _toml_types(kind: Any) -> list[type]:
    """The TOML types that an annotation allows, in order."""
    if get_origin(kind) in (Union, types.UnionType):
        return list(dict.fromkeys(one for part in get_args(kind) for one in _toml_types(part)))
    origin = get_origin(kind) or kind
    if origin is tuple:
        return [str]
    if origin in (Mapping, dict):
        return [dict]
    if origin in (Sequence, list):
        return [list]
    return [origin] if origin in _NAMES else []  # a path is a string here


def _mapping(value: dict[str, Any]) -> dict[str, Any]:
    try:
        return parse_kwargs(json.dumps(value))
    except TypeError:  # a date
        raise UsageError("dates are strings here", hint='write them as "2026-01-31"') from None
