"""A table as TOML text. (The standard library only reads it.)"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(table: Mapping[str, Any]) -> str:
    """TOML of a table. None isn't a TOML value: such keys become comments. Tables come last, as TOML wants them."""
    lines = _pairs({key: value for key, value in table.items() if not isinstance(value, Mapping)})
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            lines += ["", f"[{_key(key)}]", *_pairs(value)]
    return "\n".join(lines) + "\n"


def _pairs(table: Mapping[str, Any]) -> list[str]:
    """Keys and values, a line each; tables among them are written inline."""
    return [
        f"# {_key(key)} is not set" if value is None else f"{_key(key)} = {_value(value)}"
        for key, value in table.items()
    ]


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items() if inner is not None)
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(inner) for inner in value)}]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _string(text: str) -> str:
    # JSON strings are TOML basic strings but for U+007F, which TOML wants escaped, and surrogates, which it can't hold.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
