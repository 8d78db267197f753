"""Edges of histogram bins: round numbers, even where lengths are alike, doubling where they aren't."""

from collections.abc import Iterator

_MOST_BINS = 16
# Beyond this ratio of longest to shortest, even bins put nearly everything into the first one.
_EVEN_UP_TO = 8


def bin_edges(low: int, high: int) -> list[int]:
    """Ascending round edges whose half-open bins cover ``low`` to ``high`` (both inclusive, non-negative).

    At most 16 bins for lengths up to a million; one more for each doubling beyond.
    """
    if high <= _EVEN_UP_TO * max(low, 1) or high < _MOST_BINS:
        return _even(low, high)
    fine = _doubling(low, high, halves=True)
    return fine if len(fine) <= _MOST_BINS + 1 else _doubling(low, high, halves=False)


def _even(low: int, high: int) -> list[int]:
    step = next(step for step in _round_steps() if high // step - low // step < _MOST_BINS)
    first = low // step
    return [index * step for index in range(first, high // step + 2)]


def _round_steps() -> Iterator[int]:
    scale = 1
    while True:
        yield from (scale, 2 * scale, 5 * scale)
        scale *= 10


def _doubling(low: int, high: int, *, halves: bool) -> list[int]:
    """Powers of two from 32 on, and the numbers halfway between them; the first bin starts at 0 if it must."""
    edges = [0]
    power = 32
    while edges[-1] <= high:
        edges += [power, power * 3 // 2] if halves else [power]
        power *= 2
    while len(edges) > 2 and edges[1] <= low:
        del edges[0]
    while len(edges) > 2 and edges[-2] > high:
        edges.pop()
    return edges
