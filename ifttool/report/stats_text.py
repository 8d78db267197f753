"""Figures of samples as a plain-text report for a terminal."""

from collections import Counter
from collections.abc import Iterator

from ifttool.figures.counters import PERCENTILES, Distribution, Stats
from ifttool.findings import CODES
from ifttool.io.inputs import printable
from ifttool.ledger import Tally
from ifttool.report.text import histogram, number, percent, table
from ifttool.words import counted

# Data decides how long an id is; a line of the report should still fit a terminal.
_ID_WIDTH = 48


def stats_text(
    stats: Stats, *, max_length: int | None = None, batch_size: int | None = None, ascii_only: bool = False
) -> str:
    """The report.

    Args:
        stats: The figures.
        max_length: Also say what lies over this many tokens.
        batch_size: Also say how many steps of this many samples an epoch has.
        ascii_only: Draw bars with ``#``.

    Returns:
        Lines, each with its line end, without markup or colour.
    """
    blocks = [
        list(_totals(stats)),
        _distributions(stats),
        _titled("tokens per sample", histogram(stats.tokens.bins(), ascii_only=ascii_only)),
        _longest(stats),
        list(_limits(stats, max_length, batch_size)),
        [] if stats.tally is None else list(_tally(stats.tally)),
    ]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks if block)


def _totals(stats: Stats) -> Iterator[str]:
    rows = []
    if stats.tally is not None:
        total = stats.tally.total
        rows.append(["rows", number(total.lines - total.blanks), f"{total.kept:,} gave samples"])
    rows.append(["samples", number(stats.samples), ""])
    if stats.tally is not None and stats.tally.messages:
        messages = stats.tally.messages
        rows.append(["messages", number(messages.total()), _most_first(messages)])
    if stats.has_turns and stats.turns.total:
        rows.append(["trained turns", number(stats.turns.total), ""])
    rows.append(["tokens", number(stats.tokens.total), ""])
    if stats.has_masks and stats.samples:
        share = percent(stats.trained.total / max(stats.tokens.total, 1))
        known = stats.has_turns and stats.turns.total
        per_turn = f", {stats.trained.total / stats.turns.total:,.1f} a turn" if known else ""
        rows.append(["trained tokens", number(stats.trained.total), f"{share}{per_turn}"])
    yield from table(rows, left=frozenset({0, 2}))


def _distributions(stats: Stats) -> list[str]:
    if not stats.samples:
        return []
    names = ["min", "mean", *(f"p{value}" for value in PERCENTILES), "max"]
    rows = [["per sample", *names], _row("tokens", stats.tokens)]
    if stats.has_masks:
        rows += [_row("trained tokens", stats.trained), _row("trained %", stats.shares)]
    if stats.has_turns and stats.turns.total:
        rows.append(_row("trained turns", stats.turns))
    return table(rows)


def _row(name: str, distribution: Distribution) -> list[str]:
    return [name, *map(number, distribution.as_json().values())]


def _longest(stats: Stats) -> list[str]:
    if not stats.longest:
        return []
    rows = [["tokens", "trained", "longest samples", "id"]]
    rows += [
        [
            number(sample.tokens),
            number(sample.trained_tokens),
            f"{sample.source}:{sample.line}" + ("" if sample.turn is None else f" turn {sample.turn}"),
            _shortened(sample.id or ""),
        ]
        for sample in stats.longest
    ]
    return table(rows, left=frozenset({2, 3}))


def _shortened(text: str) -> str:
    return text if len(text) <= _ID_WIDTH else f"{text[: _ID_WIDTH - 3]}..."


def _limits(stats: Stats, max_length: int | None, batch_size: int | None) -> Iterator[str]:
    if max_length is not None:
        over = stats.tokens.above(max_length)
        share = percent(over.count / max(stats.samples, 1))
        yield (
            f"over {max_length:,} tokens: {counted(over.count, 'sample')} ({share}) of {over.total:,} tokens, "
            f"{over.total - max_length * over.count:,} of them behind the limit"
        )
    if batch_size is not None:
        without = "" if max_length is None else " without samples over the limit"
        steps = stats.steps(batch_size, max_length=max_length)
        yield f"an epoch: {counted(steps, 'step')} of {counted(batch_size, 'sample')}{without}"


def _tally(tally: Tally) -> Iterator[str]:
    if tally.verdicts:
        yield f"verdicts of turns: {_most_first(tally.verdicts)}"
    rows = [
        [f"warning {code}", CODES.get(code, ""), number(count), f"first: {tally.examples.get(code, '-')}"]
        for code, count in sorted(tally.findings.items())
    ]
    total = tally.total
    rows += _codes("rejected", total.rejected) + _codes("dropped", total.dropped)
    rows += _codes("samples dropped", tally.samples_dropped)
    if rows:
        yield from table(rows, left=frozenset({0, 1, 3}))
    yield (
        f"{counted(total.lines, 'line')} = {total.kept:,} kept + {total.rejected.total():,} rejected "
        f"+ {total.dropped.total():,} dropped + {total.blanks:,} blank"
    )


def _most_first(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return printable(", ".join(f"{count:,} {name}" for name, count in ordered))


def _codes(what: str, codes: Counter[str]) -> list[list[str]]:
    return [[f"{what} {code}", CODES.get(code, ""), number(count), ""] for code, count in sorted(codes.items())]


def _titled(title: str, lines: list[str]) -> list[str]:
    return [title, *lines] if lines else []
