"""Booking input lines: every way through the rows counts and reports what it leaves out here."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from ifttool.errors import RowError
from ifttool.io.source import SkippedLine
from ifttool.ledger import Tally
from ifttool.records import Place, RawRow
from ifttool.samples import Origin
from ifttool.template.turns import Verdict

Refuse = Callable[[Place, bytes | None, RowError, str], None]
"""Called for every row that is left out: place, bytes, reason, and ``rejected`` or ``dropped``."""


def book_lines(items: Sequence[RawRow | SkippedLine], tally: Tally) -> None:
    """Count lines, at least one and all of one input."""
    tally.of(items[0].place.source).lines += len(items)


def book_skipped(item: SkippedLine, tally: Tally, refuse: Refuse) -> None:
    """Book a line that was counted and gives no row: it is blank, or was rejected while it was read."""
    if item.error is None:
        tally.of(item.place.source).blanks += 1
    else:
        leave_out(item.place, None, item.error, tally, refuse, dropped=False)


class Shape(Protocol):
    """What equal samples share."""

    @property
    def roles(self) -> Sequence[str]: ...

    @property
    def verdicts(self) -> Sequence[tuple[Verdict, bool]]: ...


class Counted(Protocol):
    """A sample to be counted."""

    @property
    def shape(self) -> Shape: ...

    @property
    def origin(self) -> Origin: ...


def count_rows(last_samples: Sequence[Counted], tally: Tally) -> None:
    """Book rows as kept, each given by its last sample: of an unrolled row, that one holds all messages."""
    for source, times in Counter([sample.origin.place.source for sample in last_samples]).items():
        tally.of(source).kept += times
    roles: defaultdict[str, int] = defaultdict(int)
    # Most chats share their shape with hundreds of others, and are counted together with them.
    for shape, times in Counter([sample.shape for sample in last_samples]).items():
        for role in shape.roles:
            roles[role] += times
    tally.count_messages(roles)


def count_samples(samples: Sequence[Counted], tally: Tally) -> None:
    """Count the turns of kept samples, given in input order."""
    turns: defaultdict[tuple[Verdict, bool], int] = defaultdict(int)
    for shape, times in Counter([sample.shape for sample in samples]).items():
        for turn in shape.verdicts:
            turns[turn] += times
    for turn, times in turns.items():
        first = next(sample for sample in samples if turn in sample.shape.verdicts)
        tally.count_turns(turn, times, first.origin.place)


def leave_out(
    place: Place, data: bytes | None, error: RowError, tally: Tally, refuse: Refuse, *, dropped: bool
) -> None:
    """Count and report a row that gives nothing: dropped because an option says so, else rejected."""
    ledger = tally.of(place.source)
    (ledger.dropped if dropped else ledger.rejected)[error.code] += 1
    refuse(place, data, error, "dropped" if dropped else "rejected")
