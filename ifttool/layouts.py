"""Which columns a shard has: chosen one by one, or as one trainer wants them."""

from collections.abc import Mapping, Sequence

from ifttool.errors import UsageError
from ifttool.nearest import nearest_hint

COLUMNS = ("input_ids", "loss_mask", "labels", "attention_mask")
"""All there are, in order."""

LAYOUTS: Mapping[str, tuple[str, ...]] = {
    # SFTTrainer takes labels as they are (0.19 and later) and pads by itself; a mask column alone would train on
    # every token, silently (trl 1.16.0, trainer/sft_trainer.py; trainers.md, run n1).
    "trl": ("input_ids", "labels"),
    # What a tokenizer with labels gives. Collators that pad by hand want the attention mask.
    "transformers": ("input_ids", "attention_mask", "labels"),
    # A dataset counts as tokenized if it has these three, and a fourth column breaks sample packing (axolotl 0.21.0,
    # utils/data/wrappers.py; docs/dataset-formats/tokenized.qmd).
    "axolotl": ("input_ids", "attention_mask", "labels"),
    # It may keep columns that the model doesn't know, and trains on everything without labels (unsloth_zoo 2026.10.9,
    # dataset_utils.py).
    "unsloth": ("input_ids", "attention_mask", "labels"),
}
"""Layout → its columns, in order. Packed rows have layouts of their own, in :mod:`ifttool.packing`."""

_PACKED_ONLY = ("megatron-bridge",)
_TARGETS = frozenset(("loss_mask", "labels"))


def choose_columns(
    *, columns: str | Sequence[str] | None = None, layout: str | None = None, bears_loss: bool = True
) -> tuple[str, ...]:
    """The columns of a run's shards.

    Args:
        columns: Names, or one string of names with commas between them; None for all.
        layout: One of :data:`LAYOUTS`; None for none.
        bears_loss: Whether samples have training targets; without, there is no ``loss_mask`` and no ``labels``.

    Raises:
        UsageError: A name is unknown or occurs twice, both are given, ``input_ids`` is missing, or the columns don't
            say which tokens are trained though that is what the run finds out.
    """
    if layout is not None:
        if columns is not None:
            raise UsageError("--layout and --columns exclude each other", hint="a layout is a choice of columns")
        return _layout_columns(layout, bears_loss=bears_loss)
    if columns is None:
        return COLUMNS if bears_loss else tuple(name for name in COLUMNS if name not in _TARGETS)
    names = tuple(columns.split(",") if isinstance(columns, str) else columns)
    _check(names, bears_loss=bears_loss)
    return names


def _layout_columns(layout: str, *, bears_loss: bool) -> tuple[str, ...]:
    if layout in _PACKED_ONLY:
        raise UsageError(
            f"{layout} reads packed rows only", hint=f"ifttool pack --layout {layout} makes them of finished shards"
        )
    if layout not in LAYOUTS:
        raise _unknown("layout", layout, (*LAYOUTS, *_PACKED_ONLY))
    if not bears_loss:
        raise UsageError(f"--layout {layout} has labels, --no-loss writes none")
    return LAYOUTS[layout]


def _check(names: Sequence[str], *, bears_loss: bool) -> None:
    for name in names:
        if name not in COLUMNS:
            raise _unknown("column", name, COLUMNS)
    if len(set(names)) < len(names):
        raise UsageError(f"--columns names {next(name for name in names if names.count(name) > 1)} twice")
    if "input_ids" not in names:
        raise UsageError("--columns leaves input_ids out")
    targets = sorted(_TARGETS.intersection(names))
    if targets and not bears_loss:
        raise UsageError(f"--columns has {targets[0]}, --no-loss writes none")
    if bears_loss and not targets:
        raise UsageError(
            "--columns has neither loss_mask nor labels: trainers would train on every token",
            hint="add one of them, or use tokenize --no-loss",
        )


def _unknown(kind: str, name: str, known: Sequence[str]) -> UsageError:
    return UsageError(f"there is no {kind} {name!r}", hint=nearest_hint(name, known))
