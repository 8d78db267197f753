"""Loss masks without offsets: control tokens of the template are the anchors that completions are measured from.

Which control tokens a layout writes, and in which order, is known before a row is encoded. In the ids of a row they
are found by one table look-up. A completion starts right behind such a token or behind a constant header after it,
whose ids are known too; it ends with one. So the ids of the whole text are enough, and each row is checked: other
control tokens than expected, or other ids where the header should be (a token straddles the start), and the row is
left to the reference path, which asks for offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ifttool.policy import Policy
from ifttool.samples import IntArray, LongArray, MaskArray
from ifttool.template.layout import Layout
from ifttool.tokenizer.control import ControlTokens, Expected, own_texts
from ifttool.tokenizer.load import Tokenizer
from ifttool.tokenizer.reference import encode_texts

_ROW_START, _ROW_END = -1, -2


@dataclass(frozen=True)
class Anchors:
    """Where the boundaries of trained runs lie, counted from control tokens.

    Attributes:
        expected: Ids of the control tokens that a row must hold, in order, int32.
        base: For each boundary, the number of its control token, or row start or end; shape (2 * runs,), int64.
        add: Tokens from the base to the boundary, int64.
        header_base: Control token before each header token that must be checked, int64.
        header_add: Tokens from it to the header token, int64.
        header_ids: What its id must be, int32.
    """

    expected: IntArray
    base: LongArray
    add: LongArray
    header_base: LongArray
    header_add: LongArray
    header_ids: IntArray

    @cached_property
    def plain(self) -> "_Plain":
        """The same as lists."""
        columns = (self.expected, self.base, self.add, self.header_base, self.header_add, self.header_ids)
        return _Plain(*(column.tolist() for column in columns))


class _Plain(NamedTuple):
    expected: list[int]
    base: list[int]
    add: list[int]
    header_base: list[int]
    header_add: list[int]
    header_ids: list[int]


class AnchorMasks:
    """Computes the loss masks of a batch from ids alone, for the rows whose layout allows it."""

    def __init__(self, tokenizer: Tokenizer, control: ControlTokens) -> None:
        self._tokenizer = tokenizer
        self._control = control
        self._headers: dict[str, list[int]] = {}
        # Parts of outlines live as long as their program, which lives as long as the worker.
        self._parts: dict[Layout, tuple[int, ...] | None] = {}

    def masks(
        self, ids: IntArray, rows: LongArray, anchors: Sequence[Anchors | None]
    ) -> tuple[MaskArray, npt.NDArray[np.bool_]]:
        """Loss masks of a batch.

        Args:
            ids: Ids of whole texts, shape (tokens,).
            rows: Where each row begins, and the total, shape (rows + 1,).
            anchors: What bears loss in each row; None for rows that need offsets.

        Returns:
            The mask, shape (tokens,), int8, and which rows it is right for, shape (rows,); the others are all 0.
        """
        at = np.flatnonzero(self._control.is_control[ids])
        first = np.searchsorted(at, rows)
        ok = np.array([anchor is not None for anchor in anchors], np.bool_)
        ok &= np.diff(first) == [-1 if anchor is None else len(anchor.expected) for anchor in anchors]
        usable = [anchor for anchor, good in zip(anchors, ok, strict=True) if good and anchor is not None]
        row_of = np.flatnonzero(ok)
        if not len(row_of):
            return np.zeros(len(ids), np.int8), ok
        offset = np.concatenate((at, np.zeros(1, np.int64)))

        wrong = _rows_with(
            ids[at[np.repeat(ok, np.diff(first))]] != np.concatenate([anchor.expected for anchor in usable]),
            [len(anchor.expected) for anchor in usable],
        )
        header_row = np.repeat(row_of, [len(anchor.header_ids) for anchor in usable])
        header_at = offset[
            first[header_row] + np.concatenate([anchor.header_base for anchor in usable])
        ] + np.concatenate([anchor.header_add for anchor in usable])
        header_ids = np.concatenate([anchor.header_ids for anchor in usable])
        inside = header_at < rows[header_row + 1]
        matches = inside & (ids[np.where(inside, header_at, 0)] == header_ids)
        wrong |= _rows_with(~matches, [len(anchor.header_ids) for anchor in usable])
        ok[row_of[wrong]] = False

        base = np.concatenate([anchor.base for anchor in usable])
        row = np.repeat(row_of, [len(anchor.base) for anchor in usable])
        token = offset[np.minimum(first[row] + np.maximum(base, 0), len(at))] + np.concatenate(
            [anchor.add for anchor in usable]
        )
        token = np.where(base == _ROW_START, rows[row], np.where(base == _ROW_END, rows[row + 1], token))
        token = token[ok[row]]
        mask = np.zeros(len(ids) + 1, np.int8)
        np.add.at(mask, token[0::2], 1)
        np.add.at(mask, token[1::2], -1)
        return np.cumsum(mask[:-1], dtype=np.int8), ok

    def of(self, policy: Policy) -> Anchors | None:
        """The anchors of a policy; None if one of its boundaries has none."""
        if self not in policy.derived:
            policy.derived[self] = self._find(policy)
        found: Anchors | None = policy.derived[self]
        return found

    def joined(
        self, parts: Sequence[Layout], turns: Sequence[tuple[Policy, int]], *, everything: bool
    ) -> Anchors | None:
        """The anchors of a sample that is put together from parts; None if one of its boundaries has none.

        Args:
            parts: Layouts that its text is made of, in order.
            turns: What bears loss around each of its turns, and the number of the first part there.
            everything: Whether every token bears loss.
        """
        expected: list[int] = []
        starts = []
        for part in parts:
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
        for policy, first in turns:
            near = self.of(policy)
            start = starts[first]
            if near is None or expected[start : start + len(near.expected)] != near.plain.expected:
                return None
            base += [number if number < 0 else number + start for number in near.plain.base]
            add += near.plain.add
            header_base += [number + start for number in near.plain.header_base]
            header_add += near.plain.header_add
            header_ids += near.plain.header_ids
        return Anchors(
            np.array(expected, np.int32),
            np.array(base, np.int64),
            np.array(add, np.int64),
            np.array(header_base, np.int64),
            np.array(header_add, np.int64),
            np.array(header_ids, np.int32),
        )

    def _own(self, part: Layout) -> tuple[int, ...] | None:
        """Ids of the control tokens in a part; None if they depend on the row."""
        if part not in self._parts:
            expected = self._control.expected_in(part)
            self._parts[part] = None if expected is None else tuple(item.token for item in expected)
        return self._parts[part]

    def _find(self, policy: Policy) -> Anchors | None:
        if policy.reasoning:
            return None
        expected = self._control.expected_in(policy.layout)
        if expected is None:
            return None
        texts = own_texts(policy.layout)
        base, add, headers = [], [], []
        for run in policy.trained:
            for boundary in run:
                found = self._anchor(texts, boundary, expected)
                if found is None:
                    return None
                number, header = found
                starts = number >= 0 and _starts_at(expected[number], boundary)
                base.append(number)
                add.append(0 if number < 0 or starts else 1 + len(header))
                headers += [(number, 1 + step, token) for step, token in enumerate(header)]
        table = np.array(headers, np.int64).reshape(len(headers), 3)
        return Anchors(
            np.array([item.token for item in expected], np.int32),
            np.array(base, np.int64),
            np.array(add, np.int64),
            table[:, 0],
            table[:, 1],
            table[:, 2].astype(np.int32),
        )

    def _anchor(
        self, texts: Sequence[str | None], boundary: int, expected: Sequence[Expected]
    ) -> tuple[int, list[int]] | None:
        """The control token that a boundary is counted from, and the ids of the constant text between them."""
        if boundary == len(texts):
            return _ROW_END, []
        for number, item in enumerate(expected):
            if _starts_at(item, boundary):
                return number, []
        before = [number for number, item in enumerate(expected) if item.piece < boundary]
        start, skip = (expected[before[-1]].piece, expected[before[-1]].offset) if before else (0, 0)
        between = texts[start:boundary]
        if any(text is None for text in between):
            return None
        header = "".join(text or "" for text in between)[skip:]
        if not before:
            return (_ROW_START, []) if not header else None
        tokens = self._ids_of(header)
        if tokens[:1] != [expected[before[-1]].token]:
            return None
        return before[-1], tokens[1:]

    def _ids_of(self, header: str) -> list[int]:
        """Ids of a header; a template writes the same few ones before all of its turns."""
        if header not in self._headers:
            self._headers[header] = encode_texts(self._tokenizer, [header]).ids.tolist()
        return self._headers[header]


def _starts_at(item: Expected, boundary: int) -> bool:
    return item.piece == boundary and item.offset == 0


def _rows_with(flags: npt.NDArray[np.bool_], sizes: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which rows hold a flag, where row after row has ``sizes`` of them."""
    ends = np.cumsum(sizes)
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(flags, dtype=np.int64)))
    found: npt.NDArray[np.bool_] = sums[ends] != sums[ends - np.asarray(sizes)]
    return found
