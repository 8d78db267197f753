"""A first look at all conversations, for what can't be decided row by row: exact duplicates and row limits.

Inputs are read twice then. Parsing and hashing cost about a fifth of what masking does, and what is left out isn't
rendered or encoded. The alternative, to drop finished samples, would encode all of a million rows to keep a thousand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ifttool.arranging.draw import LEFT_OUT
from ifttool.arranging.keys import chance, conversation_key, example_key
from ifttool.arranging.mixture import Weight
from ifttool.errors import RowError
from ifttool.hands import Job
from ifttool.io.atomic import atomic_writer
from ifttool.preparing.reading import read_conversation
from ifttool.recipe import Recipe
from ifttool.records import RawRow
from ifttool.samples import LongArray
from ifttool.split import Split
from ifttool.worker import Worker

SEEN = np.dtype([("line", "<i8"), ("rank", "<u8"), ("high", "<u8"), ("low", "<u8")])
"""A conversation: its line, its place in the queue of a row limit, and what it teaches (16 bytes)."""

# Conversations whose keys are compared at once: 40 bytes each, so that some 160 MB do for any number of them.
_AT_ONCE = 1 << 22

_Records = npt.NDArray[np.void]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The conversations of one split, in a file of :data:`SEEN` records.

    Attributes:
        index: The split's place among the splits of the run.
        source: Number of its input.
        weight: How much of that is taken.
        path: The file; what was left out of the split replaces it in the end.
    """

    index: int
    source: int
    weight: Weight
    path: Path

    def records(self) -> _Records:
        """What the file holds, mapped instead of read."""
        seen: _Records = np.load(self.path, mmap_mode="r" if self.path.stat().st_size > _HEADER else None)
        return seen


_HEADER = 128  # of a .npy file without records, which can't be mapped


def survey_split(split: Split, recipe: Recipe, path: Path) -> int:
    """Write the keys of a split's conversations that its weight takes; gives their number. Bad rows are passed over."""
    found = []
    for item in split.rows():
        if not isinstance(item, RawRow):
            continue
        try:
            conversation = read_conversation(item, recipe)
        except RowError:
            continue
        key = conversation_key(conversation)
        if split.draw is not None and not split.draw.weight.copies_of(key, split.draw.seed):
            continue
        example = example_key(conversation, key)
        rank = chance(example, "rows", 0 if split.draw is None else split.draw.seed)
        high, low = int.from_bytes(example[:8], "little"), int.from_bytes(example[8:], "little")
        found.append((item.place.line, rank, high, low))
    with atomic_writer(path) as file:
        np.save(file, np.array(found, dtype=SEEN))
    return len(found)


def resolve_survey(surveyed: Sequence[Surveyed], *, dedup: bool) -> None:
    """Decide about all conversations; each split's file holds what is left out of it afterwards.

    Limits choose from each group of inputs on their own, then duplicates of what was chosen are dropped: so no
    conversation is lost because the first input to hold it didn't take it.

    Args:
        surveyed: The splits, in input order.
        dedup: Whether to drop conversations that came before. Limits then count different conversations.
    """
    taken = [np.ones(len(split.records()), np.bool_) for split in surveyed]
    for group, limit in _limits(surveyed).items():
        members = [
            number for number, split in enumerate(surveyed) if (split.weight.group, split.weight.rows) == (group, limit)
        ]
        _apply_limit([(surveyed[number].records(), taken[number]) for number in members], limit, distinct=dedup)
    repeats = _duplicates(surveyed, taken) if dedup else {}
    for number, split in enumerate(surveyed):
        lines = split.records()["line"][~taken[number]]
        out = np.empty(len(lines), LEFT_OUT)
        out["line"], out["first_source"], out["first_line"] = lines, -1, 0
        with atomic_writer(split.path) as file:
            np.save(file, np.concatenate([out, *repeats.get(number, ())]))


def _limits(surveyed: Sequence[Surveyed]) -> dict[int, int]:
    return {split.weight.group: split.weight.rows for split in surveyed if split.weight.rows is not None}


def _apply_limit(members: Sequence[tuple[_Records, _Flags]], limit: int, *, distinct: bool) -> None:
    """Take the ``limit`` conversations of lowest rank; equal ones in input order."""
    lowest = np.empty(0, np.uint64)
    for records, _ in members:
        ranks = np.concatenate((lowest, records["rank"]))
        lowest = (np.unique(ranks) if distinct else np.sort(ranks))[:limit]
    if len(lowest) < limit:
        return
    last = lowest[-1]
    # Of conversations that share the last rank only so many are taken as fit, unless they count as one.
    room = int(np.count_nonzero(lowest == last))
    for records, taken in members:
        ranks = records["rank"]
        np.logical_and(taken, ranks <= last, out=taken)
        if not distinct:
            ties = np.flatnonzero(ranks == last)
            taken[ties[room:]] = False
            room -= min(room, len(ties))


def _duplicates(surveyed: Sequence[Surveyed], taken: Sequence[_Flags]) -> dict[int, list[_Records]]:
    """For each split the taken conversations that came before, as :data:`LEFT_OUT` records."""
    total = sum(int(flags.sum()) for flags in taken)
    rounds = max(1, -(-total // _AT_ONCE))
    sources = np.array([split.source for split in surveyed], np.int64)
    found: dict[int, list[_Records]] = {}
    for one in range(rounds):
        numbers, lines, first_numbers, first_lines = _repeats(surveyed, taken, rounds=rounds, one=one)
        out = np.empty(len(lines), LEFT_OUT)
        out["line"], out["first_source"], out["first_line"] = lines, sources[first_numbers], first_lines
        for number in np.unique(numbers).tolist():
            found.setdefault(number, []).append(out[numbers == number])
    return found


def _repeats(
    surveyed: Sequence[Surveyed], taken: Sequence[_Flags], *, rounds: int, one: int
) -> tuple[LongArray, LongArray, LongArray, LongArray]:
    """Split and line of each repeated conversation and of its first occurrence, among the keys of one round."""
    parts = []
    for number, (split, flags) in enumerate(zip(surveyed, taken, strict=True)):
        records = split.records()
        some = records[flags & (records["high"] % np.uint64(rounds) == one)]
        parts.append((some["high"], some["low"], np.full(len(some), number, np.int64), some["line"]))
    high, low, numbers, lines = (np.concatenate(column) for column in zip(*parts, strict=True))
    # A stable sort keeps input order among equal keys, so that each run starts with its first occurrence.
    order = np.lexsort((low, high))
    high, low, numbers, lines = high[order], low[order], numbers[order], lines[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    firsts = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    repeated = np.flatnonzero(~is_first)
    return numbers[repeated], lines[repeated], numbers[firsts[repeated]], lines[firsts[repeated]]


@dataclass(frozen=True, slots=True)
class SurveyJob(Job[int]):
    """The survey of one split; gives the number of conversations found.

    Attributes:
        recipe: How rows become conversations.
        path: Where the records go.
    """

    recipe: Recipe
    path: Path

    def run(self, _worker: Callable[[], Worker]) -> int:
        return survey_split(self.split, self.recipe, self.path)
