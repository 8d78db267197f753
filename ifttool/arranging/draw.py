"""Which rows of an input are taken, decided row by row in whatever process works on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ifttool.arranging.keys import conversation_key
from ifttool.arranging.mixture import Weight
from ifttool.errors import RowError
from ifttool.records import Conversation, Place

DUPLICATE, NOT_TAKEN = "IFT406", "IFT407"

LEFT_OUT = np.dtype([("line", "<i8"), ("first_source", "<i4"), ("first_line", "<i8")])
"""A row that a survey left out. ``first_source`` is -1 where a limit did it, else the row repeats that one."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What decides about the rows of one split. Small and picklable: it travels with the split.

    Attributes:
        weight: How much of the input is taken.
        seed: Another seed takes others.
        left_out: A file of :data:`LEFT_OUT` records from a survey of all inputs; None if there was none.
        sources: Names of the inputs, which these records count.
    """

    weight: Weight
    seed: int
    left_out: Path | None = None
    sources: tuple[str, ...] = ()

    def open(self) -> "Chooser":
        """Read what the survey found."""
        if self.left_out is None:
            return Chooser(self)
        records: npt.NDArray[np.void] = np.load(self.left_out)
        return Chooser(self, {int(line): (int(source), int(first)) for line, source, first in records.tolist()})


@dataclass(frozen=True, slots=True)
class Chooser:
    """A draw at work.

    Attributes:
        draw: What decides.
        left_out: Line → source and line of the conversation that it repeats; source -1 for a row over a limit.
    """

    draw: Draw
    left_out: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def key(self, place: Place, conversation: Conversation) -> str:
        """The key of a conversation that is taken, as hex.

        Raises:
            RowError: ``IFT406`` for a duplicate, ``IFT407`` for a row that the weight of its input leaves out.
        """
        key = conversation_key(conversation)
        found = self.left_out.get(place.line)
        if found is not None and found[0] >= 0:
            source, line = found
            raise RowError(DUPLICATE, f"the same conversation as {self.draw.sources[source]}:{line}")
        if found is not None or not self.draw.weight.copies_of(key, self.draw.seed):
            raise RowError(NOT_TAKEN, f"the weight {self.draw.weight} of the input leaves it out")
        return key.hex()
