"""Samples of shards against the same samples derived again from the inputs."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ifttool.errors import InputChanged, RowError, RunError
from ifttool.io.source import read_rows
from ifttool.records import RawRow
from ifttool.verification.originals import Originals
from ifttool.verification.reference import Reference, ReferenceSample
from ifttool.verification.report import Difference, Report
from ifttool.verification.shard_scan import Pick


def compare_picks(picks: Sequence[Pick], originals: Originals, reference: Reference, report: Report) -> None:
    """Derive samples again and report the ones that aren't the same, token for token.

    Reads every input once, up to the last line that is needed.
    """
    wanted: dict[str, dict[int, list[Pick]]] = {}
    for pick in picks:
        wanted.setdefault(pick.source, {}).setdefault(pick.line, []).append(pick)
    for source, lines in wanted.items():
        place = originals.found.get(source)
        if place is None:
            continue
        seen = set()
        for row in _rows(place, lines):
            seen.add(row.place.line)
            report.compared += len(lines[row.place.line])
            report.differences += _row_differences(row, lines[row.place.line], reference)
        for line in sorted(lines.keys() - seen):
            report.compared += len(lines[line])
            report.differences += [_difference(pick, "its input has no such row") for pick in lines[line]]


def _rows(place: str, lines: Mapping[int, object]) -> Iterator[RawRow]:
    """Rows of an input with the given line numbers."""
    last = max(lines)
    try:
        for item in read_rows(place):
            if item.place.line in lines and isinstance(item, RawRow):
                yield item
            if item.place.line >= last:
                return
    except InputChanged:
        return  # a damaged end: the lines that weren't reached count as missing


def _row_differences(row: RawRow, picks: Sequence[Pick], reference: Reference) -> Iterator[Difference]:
    try:
        samples = {sample.turn: sample for sample in reference.samples(row)}
    except (RowError, RunError) as error:
        for pick in picks:
            yield _difference(pick, f"the reference path refuses its input: {error.message}")
        return
    for pick in picks:
        sample = samples.get(pick.turn)
        if sample is None:
            of_turn = "" if pick.turn is None else f" for message {pick.turn}"
            yield _difference(pick, f"its input gives no sample{of_turn}")
        else:
            yield from _token_differences(pick, sample)


def _token_differences(pick: Pick, sample: ReferenceSample) -> Iterator[Difference]:
    """The first token that differs."""
    common = min(len(pick.ids), len(sample.ids))
    ids, mask = pick.ids[:common], pick.mask[:common] != 0
    expected_ids, expected_mask = sample.ids[:common], sample.mask[:common] != 0
    wrong = np.flatnonzero((ids != expected_ids) | (mask != expected_mask))
    if len(wrong):
        at = int(wrong[0])
        has = f"id {ids[at]} {_fate(mask[at])}"
        should = f"id {expected_ids[at]} {_fate(expected_mask[at])}"
        yield _difference(pick, f"token {at} is {has}; derived again it is {should}", token=at)
    elif len(pick.ids) != len(sample.ids):
        yield _difference(pick, f"has {len(pick.ids)} tokens; derived again it has {len(sample.ids)}", token=common)


def _fate(is_trained: object) -> str:
    return "(trained)" if is_trained else "(not trained)"


def _difference(pick: Pick, message: str, *, token: int | None = None) -> Difference:
    return Difference("row", pick.path, message, row=pick.row, source=pick.source, line=pick.line, token=token)
