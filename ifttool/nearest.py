"""Hints for names that don't exist."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str | None:
    """The known name that is most like ``name``; None if none is at least so alike (0 to 1)."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """``did you mean trl? (one of trl, …)``: the nearest known name, if any is like it, and all of them."""
    names = list(known)
    listed = f"one of {', '.join(names)}"
    # Little likeness is asked: whatever is nearest helps more than nothing, and the rest is listed behind it.
    nearest = nearest_name(name, names, likeness=0.3)
    return listed if nearest is None else f"did you mean {nearest}? ({listed})"
