"""Rows of a run done again by the reference path: what is written must be what plain Jinja and ``tokenizers`` give."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ifttool.errors import RowError, RunError
from ifttool.recipe import Recipe
from ifttool.records import Place, RawRow
from ifttool.samples import IntArray, MaskArray
from ifttool.template.chat_template import ChatTemplate
from ifttool.tokenizer.load import Tokenizer
from ifttool.verification.reference import Reference

# One row in so many. The reference takes up to 200 times as long as the fast way. So that this costs a run a few
# percent, rows are taken less often once thousands have been, and so are rows of many turns: for them it is quadratic.
SAMPLED = 1024
_FIRST_LINES = 16 * SAMPLED
_LATER_SAMPLED = 4 * SAMPLED
_LONG_BYTES = 50_000
_LONG_SAMPLED = 16 * SAMPLED
# Most runs are small, and what is wrong with a template or tokenizer often shows in rows that say little: of short rows
# sixteen are taken among the first 256 lines, and as many again up to line 4,096, at a millisecond each.
_SHORT_BYTES = 4_000
_EARLIEST_LINES, EARLIEST_SAMPLED = 256, 16
_EARLY_LINES, _EARLY_SAMPLED = 4096, 256


class CrossCheck:
    """Compares rows with what the reference path makes of them, as ``recipe.verify`` says.

    Args:
        recipe: The options.
        template: The recipe's chat template.
        tokenizer: The tokenizer.
    """

    def __init__(self, recipe: Recipe, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._recipe, self._template, self._tokenizer = recipe, template, tokenizer
        self._reference: Reference | None = None

    def chosen(self, rows: Sequence[RawRow]) -> list[int]:
        """Which of some rows are to be checked, by index; whether one is doesn't depend on the run."""
        if self._recipe.verify != "sample":
            return [*range(len(rows))] if self._recipe.verify == "all" else []
        lots = _lots(np.array([row.place.line for row in rows], np.uint64))
        drawn = np.flatnonzero(lots % np.uint64(EARLIEST_SAMPLED) == 0).tolist()
        return [index for index in drawn if int(lots[index]) % _often(rows[index].place) == 0]

    def check(self, row: RawRow, found: Sequence[tuple[IntArray, MaskArray]]) -> None:
        """Compare the samples of a row, those left out for control tokens in their data aside.

        Args:
            row: The row.
            found: Ids and loss mask of each sample, shape (tokens,), int32 and int8.

        Raises:
            RunError: They aren't what the reference path makes of the row.
        """
        if self._reference is None:
            self._reference = Reference(self._recipe, self._template, self._tokenizer)
        try:
            expected = [(sample.ids, sample.mask) for sample in self._reference.samples(row)]
        except RowError as error:
            raise _defect(row, f"it is rejected there: {error}") from error
        if len(expected) != len(found):
            raise _defect(row, f"{len(found)} samples instead of {len(expected)}")
        for (ids, mask), (right_ids, right_mask) in zip(found, expected, strict=True):
            for name, have, want in (("ids", ids, right_ids), ("loss mask", mask, right_mask)):
                if not np.array_equal(have, want):
                    raise _defect(row, f"the {name} differ at token {_first_difference(have, want)}")


def _often(place: Place) -> int:
    """Of how many rows such as this one is checked; a multiple of :data:`EARLIEST_SAMPLED`."""
    line = place.line
    if place.byte_len >= _LONG_BYTES:
        return _LONG_SAMPLED
    if line > _FIRST_LINES:
        return _LATER_SAMPLED
    if line > _EARLY_LINES or place.byte_len > _SHORT_BYTES:
        return SAMPLED
    return EARLIEST_SAMPLED if line <= _EARLIEST_LINES else _EARLY_SAMPLED


def _lots(lines: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A number for each line, spread evenly whatever the distance of the lines (the finalizer of SplitMix64)."""
    found = lines * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ found >> np.uint64(shift)) * np.uint64(factor)
    return found ^ found >> np.uint64(31)


def _first_difference(left: IntArray | MaskArray, right: IntArray | MaskArray) -> int:
    size = min(len(left), len(right))
    unequal = np.flatnonzero(left[:size] != right[:size])
    return int(unequal[0]) if len(unequal) else size


def _defect(row: RawRow, what: str) -> RunError:
    return RunError(
        f"internal error: {row.place} isn't what the reference path makes of it: {what}",
        hint="nothing was written; please report it with the row and the template",
    )
