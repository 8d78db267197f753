"""JSON text of subtrees, as ``tojson`` and ``json.dumps`` write it; that of values that come again is remembered."""

import json
from collections.abc import Callable
from json.encoder import c_make_encoder, encode_basestring, encode_basestring_ascii  # type: ignore[attr-defined]
from typing import Any

Options = tuple[Any, ...]
"""``ensure_ascii``, ``indent``, ``separators`` and ``sort_keys``; or ``repr``: Python's text of it instead."""

# How deep in a value there are subtrees that templates print by themselves: tools, a tool, its function, parameters.
_LEVELS = 4
# Runs of one process share the memory below. A tool has some ten containers within these levels.
_MOST_KEPT = 50_000

_ENCODERS: dict[Options, Callable[[Any], str]] = {("repr",): repr}
# By identity, since looking a value up by what it says would take as long as writing it. Holding the values keeps
# their identities from being given to others.
_KEPT: dict[int, tuple[Any, dict[Options, str]]] = {}


def json_text(value: Any, options: Options) -> str:
    """The text of a value."""
    kept = _KEPT.get(id(value))
    if kept is None:
        return _encoder_for(options)(value)
    text = kept[1].get(options)
    if text is None:
        text = kept[1][options] = _encoder_for(options)(value)
    return text


def keep_texts(value: Any, levels: int = _LEVELS) -> None:
    """Remember the texts of a value and of the containers in it. When too many are remembered, all are forgotten.

    Args:
        value: Never changed from now on.
        levels: How many containers inside each other.
    """
    if levels and isinstance(value, dict | list) and id(value) not in _KEPT:
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        _KEPT[id(value)] = (value, {})
        for item in value.values() if isinstance(value, dict) else value:
            keep_texts(item, levels - 1)


def _encoder_for(options: Options) -> Callable[[Any], str]:
    encode = _ENCODERS.get(options)
    if encode is None:
        encode = _ENCODERS[options] = _encoder(*options)
    return encode


def _encoder(
    ascii_only: bool, indent: Any, separators: tuple[str, str] | None, sort_keys: bool
) -> Callable[[Any], str]:
    """``json.dumps`` with these options."""
    encoder = json.JSONEncoder(
        ensure_ascii=ascii_only,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        check_circular=False,  # what was parsed from JSON has no cycles
    )
    if indent is not None or c_make_encoder is None:
        return encoder.encode
    # `encode` makes this for every value anew, which takes as long as encoding the arguments of a call.
    parts = c_make_encoder(
        None,
        encoder.default,
        encode_basestring_ascii if ascii_only else encode_basestring,
        None,
        encoder.key_separator,
        encoder.item_separator,
        sort_keys,
        False,
        True,
    )
    return lambda value: "".join(parts(value, 0))
