"""Plain chats, from bytes to samples in one loop: all but their texts is known from their roles."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from ifttool.errors import RowError
from ifttool.formats.plain import PlainReader
from ifttool.preparing.outline import Composition, Outline
from ifttool.preparing.policies import Policies
from ifttool.preparing.prepared import Prepared
from ifttool.recipe import Recipe
from ifttool.records import RawRow
from ifttool.samples import Origin
from ifttool.template.analyser import Analyser
from ifttool.template.plan import Plan, Printer

# Sequences of roles of which ways are remembered; most data has some dozens.
_REMEMBERED = 1024


class _Way(msgspec.Struct, frozen=True, gc=False):
    """A plan that prints plain chats, and what their samples have in common."""

    printer: Printer
    shape: Composition
    refused: RowError | None


class _Ways(msgspec.Struct, gc=False):
    """The ways of plain chats of some roles.

    Attributes:
        roles: The role of each message.
        turns: The turns located in them.
        plans: What the ways come of: a list that grows elsewhere.
        seen: How many of the plans were looked at.
        known: The ways of these.
    """

    roles: tuple[str, ...]
    turns: tuple[int, ...]
    plans: Sequence[Plan] = ()
    seen: int = 0
    known: list[_Way] = msgspec.field(default_factory=list)


class PlainWays:
    """Makes samples of plain chats by plans there are already.

    Args:
        recipe: The options.
        analyser: Makes the plans, of rows that go the general way.
        policies: What bears loss.
        detail: Gives the sample of a row with its positions, and the given turns located.

    Attributes:
        reader: Reads the chats.
    """

    def __init__(
        self,
        recipe: Recipe,
        analyser: Analyser,
        policies: Policies,
        detail: Callable[[RawRow, Sequence[int]], Prepared],
    ) -> None:
        self._selection, self._bears_loss = recipe.selection, recipe.bears_loss
        self._analyser, self._policies, self._detail = analyser, policies, detail
        self._ways: dict[tuple[str, ...], _Ways] = {}
        self.reader = PlainReader()

    def outlines(self, rows: Sequence[RawRow]) -> Iterator[Outline | None]:
        """The sample of each row; None for rows that must go the general way.

        One loop on purpose: in layers of functions, as other rows go, it takes half as long again.
        """
        everything = self._selection.everything and self._bears_loss
        for row, chat in zip(rows, self.reader.read(rows), strict=True):
            if chat is None:
                yield None
                continue
            ways = self._ways.get(chat.roles) or self._ways_of(chat.roles)
            text = None
            for way in ways.known:
                if (text := way.printer(chat.contents)) is not None:
                    break
            if text is None:
                self._add(ways)
                yield None
                continue
            self.reader.found_use()
            self._analyser.replays += 1
            shape = way.shape
            origin = Origin(row.place, chat.id, None, shape.trained, shape.verdict)
            yield Outline(text, shape, everything, origin, way.refused, partial(self._detail, row, ways.turns))

    def _ways_of(self, roles: tuple[str, ...]) -> _Ways:
        ways = _Ways(roles, () if self._selection.everything else tuple(self._selection.turns_of(roles)))
        if self._add(ways):
            if len(self._ways) >= _REMEMBERED:
                self._ways.clear()
            self._ways[roles] = ways
        return ways

    def _add(self, ways: _Ways) -> bool:
        """Add the ways of plans made since; gives whether there are plans for chats of these roles."""
        plans = self._analyser.plain_plans(ways.roles, ways.turns)
        if plans is None:
            return False
        if plans is not ways.plans:  # of a shape that was forgotten, and has come again
            ways.plans, ways.seen = plans, 0
        for plan in plans[ways.seen :]:
            if (way := self._way(plan)) is not None:
                ways.known.append(way)
        ways.seen = len(plans)
        return True

    def _way(self, plan: Plan) -> _Way | None:
        """A plan as a way; None if rows of its layout must go the general way."""
        if plan.printer is None or (shape := self._policies.alone(plan.layout)) is None:
            return None
        try:
            return _Way(plan.printer, shape, self._policies.refusal(shape.mismatch))
        except RowError:
            return None
