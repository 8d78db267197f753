"""Which samples share a pack: best fit decreasing over lengths. A pure function of lengths, options and seed."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ifttool.samples import IntArray, LongArray


@dataclass(frozen=True, slots=True)
class Plan:
    """Packs in the order in which they are written.

    Attributes:
        rows: The placed rows, pack after pack and ascending within each, shape (placed,), int64.
        packs: Where each pack's rows begin in ``rows``, and the total; shape (packs + 1,), int64.
    """

    rows: LongArray
    packs: LongArray

    def __len__(self) -> int:
        return len(self.packs) - 1


def plan_packs(lengths: npt.NDArray[np.integer], *, length: int, window: int | None = None, seed: int = 0) -> Plan:
    """Place whole rows into packs of at most ``length``.

    Best fit decreasing: rows from the longest to the shortest, each into the fullest pack that still takes it. The
    seed decides which of equally long rows goes where, and the order of packs (best fit makes those of long rows
    first). It feeds only numpy's raw bit generator, whose stream NEP 19 fixes for all versions.

    Args:
        lengths: What each row takes up, shape (rows,). Rows of less than 1 or more than ``length`` aren't placed.
        length: What a pack holds, at least 1.
        window: Pack every so many consecutive rows on their own, which keeps their order roughly; None for all at
            once, which fills best.
        seed: 0 or more.
    """
    bits = np.random.PCG64(seed)
    total = len(lengths)
    parts = [
        _plan_window(lengths[start : start + (window or total)], length, bits, start)
        for start in range(0, total, window or max(total, 1))
    ]
    rows = [np.zeros(0, np.int64), *(part.rows for part in parts)]
    packs, placed = [np.zeros(1, np.int64)], 0
    for part in parts:
        packs.append(part.packs[1:] + placed)
        placed += len(part.rows)
    return Plan(np.concatenate(rows), np.concatenate(packs))


def best_fit_decreasing(lengths: npt.NDArray[np.integer], capacity: int) -> IntArray:
    """The pack of each row, for rows that come sorted from the longest to the shortest.

    Rows of one length and packs with equal room are interchangeable, so that whole groups move at once: a pack that
    is the best fit for a length stays it until it can't take another row of that length. That makes the same packs as
    placing rows one by one, in at most as many steps as there are rows and usually far fewer.

    Args:
        lengths: Shape (rows,), descending, each from 1 to ``capacity``.
        capacity: What a pack holds.

    Returns:
        Numbers of packs from 0, in order of their first row; shape (rows,), int32.
    """
    pack_of = array("i")
    opened = 0
    # Packs by the room that is left in them; bit r of `rooms` says that there are some with room r. Finding the
    # tightest is one shift: 1 KB of bits for packs of 8192.
    by_room: dict[int, array[int]] = {}
    rooms = 0
    for length, count in _runs(lengths):
        left = count
        while left:
            fitting = rooms >> length
            if fitting:
                room = length + (fitting & -fitting).bit_length() - 1
                group = by_room[room]
                taken, each = _shares(left, room // length, len(group))
                chosen = group[len(group) - taken :]
                del group[len(group) - taken :]
                if not group:
                    rooms ^= 1 << room
            else:
                room = capacity
                taken, each = _shares(left, room // length, left)
                chosen = array("i", range(opened, opened + taken))
                opened += taken
            _append(pack_of, chosen, each)
            left -= taken * each
            room -= each * length
            if room:
                by_room.setdefault(room, array("i")).extend(chosen)
                rooms |= 1 << room
    return np.frombuffer(pack_of, np.int32) if pack_of else np.zeros(0, np.int32)


def _plan_window(lengths: npt.NDArray[np.integer], length: int, bits: np.random.PCG64, first: int) -> Plan:
    rows = np.flatnonzero((lengths >= 1) & (lengths <= length))
    order = np.lexsort((bits.random_raw(len(rows)), -lengths[rows].astype(np.int64)))
    pack_of = best_fit_decreasing(lengths[rows[order]], length)
    packs = int(pack_of.max()) + 1 if len(pack_of) else 0
    shuffled = np.empty(packs, np.int64)
    shuffled[np.argsort(bits.random_raw(packs), kind="stable")] = np.arange(packs)
    by_row = np.empty(len(rows), np.int64)
    by_row[order] = shuffled[pack_of]
    sizes = np.bincount(by_row, minlength=packs)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    return Plan(rows[np.argsort(by_row, kind="stable")] + first, starts)


def _runs(lengths: npt.NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Lengths and how often each comes in a row."""
    starts = np.flatnonzero(np.diff(lengths, prepend=0))
    counts = np.diff(starts, append=len(lengths))
    return zip(lengths[starts].tolist(), counts.tolist(), strict=True)


def _shares(rows: int, most: int, packs: int) -> tuple[int, int]:
    """How many packs take how many rows each, if a pack takes at most so many: all full, or one the rest."""
    full = min(rows // most, packs)
    return (full, most) if full else (1, rows)


def _append(pack_of: "array[int]", packs: "array[int]", each: int) -> None:
    if each == 1:
        pack_of.extend(packs)
    else:
        pack_of.frombytes(np.repeat(np.frombuffer(packs, np.int32), each).tobytes())
