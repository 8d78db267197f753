"""Per-message decisions to train, under the names that other trainers gave them."""

import math
from typing import Any

from ifttool.errors import RowError

FLAGS = frozenset(("train", "training", "trainable", "loss", "weight", "loss_weight"))
"""Message keys that are taken for flags and never reach the template."""


def pop_training_flag(message: dict[str, Any], path: str) -> bool | None:
    """Take the training flags out of a message.

    Args:
        message: Changed in place.
        path: Its place in the row.

    Returns:
        The flags' common value, or None if the message has none.

    Raises:
        RowError: ``IFT205``: a value that isn't true, false, 0 or 1, or flags that disagree.
    """
    if FLAGS.isdisjoint(message):
        return None
    decision: bool | None = None
    decided_by = ""
    for name in FLAGS & message.keys():
        value = message.pop(name)
        if value is None:
            continue
        flag = _to_bool(value, f"{path}.{name}")
        if decision is not None and flag != decision:
            first, second = sorted((decided_by, name))
            raise RowError("IFT205", f"{first} and {second} disagree", path=path)
        decision, decided_by = flag, name
    return decision


def _to_bool(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if value in (0, 1):
            return bool(value)
        if math.isfinite(value) and 0 < value < 1:
            raise RowError(
                "IFT205",
                f"a weight of {value} can't be kept: a loss mask has 0 and 1 only",
                path=path,
                hint="round it, or drop the row",
            )
    raise RowError("IFT205", f"the flag must be true, false, 0 or 1, not {value!r:.40}", path=path)
