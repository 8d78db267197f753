"""Loss masks without offsets: control tokens of the template are the anchors that completions are measured from.

Which control tokens a layout writes, and in which order, is known before a row is encoded. In the ids of a row they
are found by one table look-up. A completion starts right behind such a token or behind a constant header after it,
whose ids are known too; it ends with one. So the ids of the whole text are enough, and each row is checked: other
control tokens than expected, or other ids where the header should be, and the row is left to the reference path, which
asks for offsets.

One other id is followed: where a completion's first characters merge with the header's last token, a longer token
straddles the start. It starts in the header, so it isn't trained, and the completion goes on behind it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ifttool.preparing.outline import Composition
from ifttool.preparing.policy import Policy
from ifttool.samples import IntArray, LongArray, MaskArray
from ifttool.template.layout import Layout
from ifttool.tokenizer.boundary import COMPARED
from ifttool.tokenizer.control import ControlTokens, Expected, own_texts
from ifttool.tokenizer.extension import Extensions
from ifttool.tokenizer.load import Tokenizer
from ifttool.tokenizer.reference import encode_texts

_ROW_START, _ROW_END = -1, -2


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Where the boundaries of trained runs lie, counted from control tokens.

    Attributes:
        expected: Ids of the control tokens that a row must hold, in order.
        base: For each boundary, the number of its control token, or row start or end; two a run.
        add: Tokens from the base to the boundary.
        header_base: Control token before each header token that must be checked.
        header_add: Tokens from it to the header token.
        header_ids: What its id must be.
        header_open: Whether it may be a longer token, which straddles the start of a turn.
        blocks: Whether generation blocks decide, which train such a token.
    """

    expected: Sequence[int]
    base: Sequence[int]
    add: Sequence[int]
    header_base: Sequence[int]
    header_add: Sequence[int]
    header_ids: Sequence[int]
    header_open: Sequence[bool]
    blocks: bool


_NOTHING = Anchors((), (), (), (), (), (), (), False)


class _Place(NamedTuple):
    """Where a boundary lies.

    Attributes:
        number: Of the control token that it is counted from, or row start or end.
        add: Tokens from there to the boundary.
        header: Ids of the constant text between the two.
        chars: Length of that text with the control token.
    """

    number: int
    add: int = 0
    header: Sequence[int] = ()
    chars: int = 0


class _Ragged:
    """Numbers of several rows, taken from lists that many rows may share."""

    def __init__(self, lists: Sequence[Sequence[int]], used: LongArray) -> None:
        lengths = np.array([len(one) for one in lists], np.int64)
        self.sizes = lengths[used]
        ends = np.cumsum(self.sizes)
        starts = (np.cumsum(lengths) - lengths)[used]
        self._index = np.arange(self.sizes.sum()) + np.repeat(starts - ends + self.sizes, self.sizes)

    def of(self, lists: Iterable[Sequence[int]]) -> LongArray:
        """The rows' numbers, one behind the other; the lists are as long as those given at first."""
        found: LongArray = np.fromiter(chain.from_iterable(lists), np.int64)[self._index]
        return found


class AnchorMasks:
    """Computes the loss masks of a batch from ids alone, for the rows whose layout allows it.

    Args:
        tokenizer: The tokenizer.
        control: Its control tokens.
        splits: Whether rows in which a token straddles the start of a turn are encoded in another way.
    """

    def __init__(self, tokenizer: Tokenizer, control: ControlTokens, *, splits: bool) -> None:
        self._tokenizer = tokenizer
        self._control = control
        self._extensions = None if splits else Extensions(tokenizer)
        self._headers: dict[str, list[int]] = {}

    def masks(
        self, ids: IntArray, rows: LongArray, anchors: Sequence[Anchors | None], which: LongArray
    ) -> tuple[MaskArray, npt.NDArray[np.bool_], LongArray]:
        """Loss masks of a batch.

        Args:
            ids: Ids of whole texts, shape (tokens,).
            rows: Where each row begins, and the total, shape (rows + 1,).
            anchors: What bears loss in rows of one kind, for each kind; None for those that need offsets.
            which: The kind of each row, shape (rows,).

        Returns:
            The mask, shape (tokens,), int8; which rows it is right for, shape (rows,), the others are all 0; and how
            many tokens of these straddle the start of a turn, shape (rows,), int64.
        """
        at = np.flatnonzero(self._control.is_control[ids])
        first = np.searchsorted(at, rows)
        # No row holds as few control tokens as those that need offsets must.
        sizes = np.array([-1 if anchor is None else len(anchor.expected) for anchor in anchors], np.int64)
        known = [anchor or _NOTHING for anchor in anchors]
        ok: npt.NDArray[np.bool_] = np.diff(first) == sizes[which]
        row_of = np.flatnonzero(ok)
        straddles = np.zeros(len(ok), np.int64)
        if not len(row_of):
            return np.zeros(len(ids), np.int8), ok, straddles
        used = which[row_of]
        offset = np.concatenate((at, np.zeros(1, np.int64)))

        expected = [anchor.expected for anchor in known]
        tokens = _Ragged(expected, used)
        wrong = _rows_with(ids[at[np.repeat(ok, np.diff(first))]] != tokens.of(expected), tokens.sizes)

        headers = _Ragged([anchor.header_ids for anchor in known], used)
        row = np.repeat(row_of, headers.sizes)
        header_at = offset[first[row] + headers.of(anchor.header_base for anchor in known)]
        header_at += headers.of(anchor.header_add for anchor in known)
        inside = header_at < rows[row + 1]
        header_ids = headers.of(anchor.header_ids for anchor in known)
        differs = ~inside | (ids[np.where(inside, header_at, 0)] != header_ids)
        if self._extensions is not None and differs.any():
            blocks = np.array([anchor.blocks for anchor in known], np.bool_)
            is_open = headers.of(anchor.header_open for anchor in known) > np.repeat(blocks[used], headers.sizes)
            open_at = np.flatnonzero(differs & inside & is_open)
            longer = open_at[self._extensions.of(header_ids[open_at], ids[header_at[open_at]])]
            differs[longer] = False
            straddles = np.bincount(row[longer], minlength=len(ok))
        wrong |= _rows_with(differs, headers.sizes)
        ok[row_of[wrong]] = False
        straddles[~ok] = 0

        bounds = _Ragged([anchor.base for anchor in known], used)
        base, row = bounds.of(anchor.base for anchor in known), np.repeat(row_of, bounds.sizes)
        token = offset[np.minimum(first[row] + np.maximum(base, 0), len(at))]
        token += bounds.of(anchor.add for anchor in known)
        token = np.where(base == _ROW_START, rows[row], np.where(base == _ROW_END, rows[row + 1], token))
        token = np.concatenate((np.zeros(1, np.int64), token[ok[row]], np.full(1, len(ids))))
        # Bounds are in order, so what lies between them bears loss or doesn't by turns.
        return np.repeat((np.arange(len(token) - 1) & 1).astype(np.int8), np.diff(token)), ok, straddles

    def of(self, policy: Policy) -> Anchors | None:
        """The anchors of a policy; None if one of its boundaries has none."""
        if self not in policy.derived:
            policy.derived[self] = self._find(policy)
        found: Anchors | None = policy.derived[self]
        return found

    def joined(self, parts: Composition, *, everything: bool) -> Anchors | None:
        """The anchors of a sample that is put together from parts; None if one of its boundaries has none.

        Args:
            parts: What it is put together from.
            everything: Whether every token bears loss.
        """
        key = (self, everything)
        if key not in parts.derived:
            parts.derived[key] = self._joined(parts, everything=everything)
        found: Anchors | None = parts.derived[key]
        return found

    def _joined(self, parts: Composition, *, everything: bool) -> Anchors | None:
        expected: list[int] = []
        starts = []
        for part in parts.layouts:
            starts.append(len(expected))
            own = self._own(part)
            if own is None:
                return None
            expected += own
        base = [_ROW_START, _ROW_END] if everything else []
        add = [0] * len(base)
        header_base: list[int] = []
        header_add: list[int] = []
        header_ids: list[int] = []
        header_open: list[bool] = []
        blocks = False
        for policy, first in parts.turns:
            near = self.of(policy)
            start = starts[first]
            if near is None or expected[start : start + len(near.expected)] != near.expected:
                return None
            base += [number if number < 0 else number + start for number in near.base]
            add += near.add
            header_base += [number + start for number in near.header_base]
            header_add += near.header_add
            header_ids += near.header_ids
            header_open += near.header_open
            blocks |= near.blocks
        # Turns of which one begins inside of another, as one with the verdict `prompt` may.
        places = [
            (len(expected) if number == _ROW_END else number, step) for number, step in zip(base, add, strict=True)
        ]
        if places != sorted(places):
            return None
        return Anchors(expected, base, add, header_base, header_add, header_ids, header_open, blocks)

    def _own(self, part: Layout) -> tuple[int, ...] | None:
        """Ids of the control tokens in a part; None if they depend on the row."""
        if self not in part.derived:
            expected = self._control.expected_in(part)
            part.derived[self] = None if expected is None else tuple(item.token for item in expected)
        found: tuple[int, ...] | None = part.derived[self]
        return found

    def _find(self, policy: Policy) -> Anchors | None:
        if policy.reasoning or policy.layout.lost:
            return None
        expected = self._control.expected_in(policy.layout)
        if expected is None:
            return None
        texts = own_texts(policy.layout)
        turns = [start for start, _ in policy.turns]
        bounds: list[_Place] = []
        headers: list[tuple[_Place, bool]] = []
        for run in policy.trained:
            for boundary in run:
                place = self._place(texts, boundary, expected)
                if place is None or (policy.blocks and boundary == run[0] and self._may_grow(place, expected)):
                    return None
                bounds.append(place)
                if boundary != run[0] or boundary not in turns:
                    headers.append((place, False))
        # Where the start of a turn bears no loss, nothing is measured from its header, and yet a token may straddle it.
        for start in turns:
            place = self._place(texts, start, expected)
            if place is None:
                return None
            # The reference path tells straddles by the tokens that lie so near.
            headers.append((place, place.chars <= COMPARED))
        return Anchors(
            expected=[item.token for item in expected],
            base=[place.number for place in bounds],
            add=[place.add for place in bounds],
            header_base=[place.number for place, _ in headers for _ in place.header],
            header_add=[step for place, _ in headers for step, _ in enumerate(place.header, 1)],
            header_ids=[token for place, _ in headers for token in place.header],
            header_open=[
                is_open and step == place.add - 1 for place, is_open in headers for step in range(1, place.add)
            ],
            blocks=policy.blocks,
        )

    def _place(self, texts: Sequence[str | None], boundary: int, expected: Sequence[Expected]) -> _Place | None:
        """Where a boundary lies; None if that can't be told from the tokens of constant text before it."""
        if boundary == len(texts):
            return _Place(_ROW_END)
        for number, item in enumerate(expected):
            if _starts_at(item, boundary):
                return None if self._may_start_before(item, texts) else _Place(number)
        before = [number for number, item in enumerate(expected) if item.piece < boundary]
        start, skip = (expected[before[-1]].piece, expected[before[-1]].offset) if before else (0, 0)
        between = texts[start:boundary]
        if any(text is None for text in between):
            return None
        header = "".join(text or "" for text in between)[skip:]
        if not before:
            return _Place(_ROW_START) if not header else None
        tokens = self._ids_of(header)
        if tokens[:1] != [expected[before[-1]].token]:
            return None
        return _Place(before[-1], len(tokens), tokens[1:], len(header))

    def _may_start_before(self, item: Expected, texts: Sequence[str | None]) -> bool:
        """Whether a control token may begin with white space that stands before it (``lstrip``)."""
        if item.token not in self._control.taking_before:
            return False
        before = next((text for text in reversed(texts[: item.piece]) if text != ""), ".")
        return before is None or before[-1].isspace()

    def _may_grow(self, place: _Place, expected: Sequence[Expected]) -> bool:
        """Whether the token before a boundary may end in white space that stands behind it (``rstrip``)."""
        if place.number < 0:
            return False
        last = place.header[-1] if place.header else expected[place.number].token
        return last in self._control.taking_behind

    def _ids_of(self, header: str) -> list[int]:
        """Ids of a header; a template writes the same few ones before all of its turns."""
        if header not in self._headers:
            self._headers[header] = encode_texts(self._tokenizer, [header]).ids.tolist()
        return self._headers[header]


def _starts_at(item: Expected, boundary: int) -> bool:
    return item.piece == boundary and item.offset == 0


def _rows_with(flags: npt.NDArray[np.bool_], sizes: LongArray) -> npt.NDArray[np.bool_]:
    """Which rows hold a flag, where row after row has ``sizes`` of them."""
    ends = np.cumsum(sizes)
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(flags, dtype=np.int64)))
    found: npt.NDArray[np.bool_] = sums[ends] != sums[ends - sizes]
    return found
