"""A sample rendered as a whole, with its turns located: what is encoded, and where in it loss is borne."""

from collections.abc import Sequence
from functools import cached_property

import msgspec

from ifttool.errors import RowError
from ifttool.preparing.policy import Policy
from ifttool.preparing.reasoning import reasoning_interval, subtract
from ifttool.records import Interval
from ifttool.samples import Origin
from ifttool.template.layout import Analysis, Layout


class Prepared(msgspec.Struct, frozen=True, dict=True, eq=False):
    """One sample before tokenization. Positions are worked out when they are first asked for: most masks need none.

    Attributes:
        analysis: The rendered conversation with its turns located.
        text: The rendered text.
        policy: What bears loss in its layout.
        origin: Where the sample comes from.
        refused: Why the recipe leaves this sample out; None if it doesn't.
        untold: Strings of the data, where the trace is lost: the text doesn't tell which of it is theirs.
    """

    analysis: Analysis
    text: str
    policy: Policy
    origin: Origin
    refused: RowError | None = None
    untold: Sequence[str] = ()

    @cached_property
    def positions(self) -> Sequence[int]:
        """First character of each piece, and the length of the text."""
        return self.analysis.positions()

    @cached_property
    def trained(self) -> Sequence[Interval]:
        """Half-open character intervals that bear loss, sorted and disjoint."""
        at = self.positions
        trained = [(at[low], at[high]) for low, high in self.policy.trained if at[low] < at[high]]
        for low, high in self.policy.reasoning:
            thought = reasoning_interval(self.text, at[low], at[high])
            trained = subtract(trained, () if thought is None else (thought,))
        return trained

    @property
    def turns(self) -> Sequence[Interval]:
        """First character of each trained turn, and one past its last."""
        return [(self.positions[low], self.positions[high]) for low, high in self.policy.turns]

    @property
    def extents(self) -> Sequence[Interval]:
        """The same with what generation blocks mark of each turn."""
        return [(self.positions[low], self.positions[high]) for low, high in self.policy.extents]

    @property
    def shape(self) -> Layout:
        """What has the roles, verdicts and anchors of the sample, and of all others of its layout."""
        return self.analysis.layout

    def detail(self) -> "Prepared":
        """The sample itself."""
        return self

    @property
    def starts(self) -> list[int]:
        """Where the completions of trained turns start, in characters."""
        return [start for start, _ in self.turns]
