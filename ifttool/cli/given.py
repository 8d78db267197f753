"""Options as they are typed → what the library takes."""

from collections.abc import Mapping
from typing import Any


def mixture(inputs: list[str] | None, weighted: list[str] | None) -> list[str] | dict[str, str] | None:
    """Positional inputs as they are; with weighted ones, all of them with their weights."""
    if not weighted:
        return inputs
    from ifttool.arranging.mixture import mixture_of

    return mixture_of(inputs or (), weighted)


def parsed_kwargs(text: str | None) -> Mapping[str, Any]:
    """Template variables from the JSON object of ``--template-kwargs``."""
    from ifttool.recipe import parse_kwargs

    return parse_kwargs(text) if text is not None else {}


def parsed_turn_tokens(text: str | None) -> tuple[int | None, int | None]:
    """Bounds on the tokens of a trained turn from ``--turn-tokens``; (None, None) for none."""
    from ifttool.recipe import parse_turn_tokens

    return parse_turn_tokens(text) if text is not None else (None, None)
