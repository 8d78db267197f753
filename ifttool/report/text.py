"""Plain-text building blocks for a terminal: numbers, tables and bars as strings without markup."""

from collections.abc import Sequence

from ifttool.io.inputs import printable

BAR_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def number(value: float | None) -> str:
    """A figure for people: thousands are grouped, fractions have one digit, an unknown figure is ``-``."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def percent(share: float | None) -> str:
    """A share with one digit; one that isn't zero is never shown as ``0.0%``."""
    if share is None:
        return "-"
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def table(rows: Sequence[Sequence[str]], *, left: frozenset[int] = frozenset({0})) -> list[str]:
    """Rows as lines with aligned columns.

    Cells are data: control characters are escaped, so that an id can't move the cursor or colour the terminal.

    Args:
        rows: Cells; all rows have equally many.
        left: Columns to align on the left; the others are aligned on the right.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def bar(share: float, *, width: int = BAR_WIDTH, ascii_only: bool = False) -> str:
    """A bar of ``share`` (0 to 1) of ``width`` columns; a share that isn't zero always shows."""
    if ascii_only:
        return "#" * max(round(share * width), share > 0)
    eighths = max(round(share * width * 8), int(share > 0))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def histogram(bins: Sequence[tuple[int, int, int]], *, ascii_only: bool = False) -> list[str]:
    """Half-open bins ``(low, high, count)`` as lines: range, count, share, bar (the fullest bin is full)."""
    whole = sum(count for _, _, count in bins)
    most = max((count for _, _, count in bins), default=0)
    if not whole:
        return []
    rows = [
        [
            number(low),
            "-",
            number(high - 1),
            number(count),
            percent(count / whole),
            bar(count / most, ascii_only=ascii_only),
        ]
        for low, high, count in bins
    ]
    return table(rows, left=frozenset({5}))
