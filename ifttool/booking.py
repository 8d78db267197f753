"""Booking input lines: every way through the rows counts and reports what it leaves out here."""

from collections.abc import Callable

from ifttool.errors import RowError
from ifttool.io.source import SkippedLine
from ifttool.ledger import Tally
from ifttool.records import Place, RawRow

Refuse = Callable[[Place, bytes | None, RowError, str], None]
"""Called for every row that is left out: place, bytes, reason, and ``rejected`` or ``dropped``."""


def book_line(item: RawRow | SkippedLine, tally: Tally, refuse: Refuse) -> RawRow | None:
    """Count a line; gives the row on it, or None for a blank line or one that was rejected while it was read."""
    ledger = tally.of(item.place.source)
    ledger.lines += 1
    if isinstance(item, RawRow):
        return item
    if item.error is None:
        ledger.blanks += 1
    else:
        leave_out(item.place, None, item.error, tally, refuse, dropped=False)
    return None


def leave_out(
    place: Place, data: bytes | None, error: RowError, tally: Tally, refuse: Refuse, *, dropped: bool
) -> None:
    """Count and report a row that gives nothing: dropped because an option says so, else rejected."""
    ledger = tally.of(place.source)
    (ledger.dropped if dropped else ledger.rejected)[error.code] += 1
    refuse(place, data, error, "dropped" if dropped else "rejected")
