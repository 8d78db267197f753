"""Rows to learn from before the work begins: from everywhere, few, and without a trace in what a run reports."""

import gzip
import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import ifttool
from helpers import TINY, chat, jsonl
from ifttool import pipeline
from ifttool.io.source import MAX_LINE_BYTES
from ifttool.records import RawRow
from ifttool.rehearsal import rows_all_over
from ifttool.tokenizer.fast_load import FastLoad
from ifttool.worker import Worker

PLACES, BYTES = 32, 1 << 16


def numbers(rows: list[RawRow]) -> list[int]:
    return [json.loads(row.data)["id"] for row in rows]


def test_rows_from_everywhere_far_from_each_other(tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_bytes(jsonl(*({"id": number, "text": "x" * 900} for number in range(4000))))
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "second.jsonl").write_bytes(jsonl(*({"id": number, "text": "x" * 900} for number in range(4000, 8000))))
    sources = [str(tmp_path / name) for name in ("first.jsonl", "empty.jsonl", "second.jsonl")]
    rows = list(rows_all_over(sources))
    ids = numbers(rows)
    assert ids[0] == 0
    # Places are the 32nd parts of all bytes, so that each has rows of its own.
    assert {number // 250 for number in ids} == set(range(PLACES))
    assert len(ids) == len(set(ids))
    assert {row.place.source for row in rows} == {sources[0], sources[2]}
    # Whenever learning ends: the first four places lie in all four quarters.
    begun = list(dict.fromkeys(number // 250 for number in ids))
    assert {place // 8 for place in begun[:5]} == {0, 1, 2, 3}
    longest = max(len(row.data) for row in rows) + 1
    assert PLACES * (BYTES - longest) <= sum(len(row.data) + 1 for row in rows) <= PLACES * (BYTES + longest)


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    lines = [b"\n", b"{]\n", b" \t\n", b"\xff\xfe\n", jsonl(TINY), b"\r\n", jsonl(chat("Hi", "Yes."))]
    (tmp_path / "broken.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(jsonl(TINY) * 1000))
    sources = [str(tmp_path / "rows.jsonl.gz"), "-", str(tmp_path / "broken.jsonl"), str(tmp_path)]
    rows = list(rows_all_over(sources))
    assert {row.data for row in rows} == {
        b"{]",
        b"\xff\xfe",
        jsonl(TINY)[:-1],
        jsonl(chat("Hi", "Yes."))[:-1],
    }  # whoever learns from them passes over what is no conversation
    assert {row.place.source for row in rows} == {sources[2]}


def test_without_rows_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert list(rows_all_over([])) == []
    assert list(rows_all_over([str(tmp_path / "empty.jsonl"), "-"])) == []


def test_long_lines_are_neither_read_nor_kept(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(jsonl({"id": 1}) + b'"' + b"x" * (2 * MAX_LINE_BYTES) + b'"\n' + jsonl(*({"id": 2},) * 100))
    tracemalloc.start()
    try:
        assert set(numbers(list(rows_all_over([str(path)])))) <= {1, 2}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_LINE_BYTES / 2


def test_files_that_vanish_or_shrink_meanwhile_end_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(*({"id": number, "text": "x" * 900} for number in range(4000))))
    rows = rows_all_over([str(path)])
    assert numbers([next(rows)]) == [0]
    path.write_bytes(jsonl({"id": 0}))
    assert len(list(rows)) < 100
    rows = rows_all_over([str(path)])
    next(rows)
    path.unlink()
    assert list(rows) == []


def test_nothing_of_it_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary and the bytes of a run on rows with errors are the same whatever was rehearsed."""
    rows = [chat(f"Say {number}.", str(number), id=str(number)) for number in range(40)]
    bad = b'{"messages":[]}\n{]\n\n{"messages":[{"role":"user","content":"Hi"}]}\n'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(bad + jsonl(*rows) + bad + jsonl(TINY))
    rehearsed: list[RawRow] = []
    rehearse = Worker.rehearse

    def watched(self: Worker, given: Iterable[RawRow]) -> None:
        rehearse(self, (row for row in given if rehearsed.append(row) is None))  # type: ignore[func-returns-value]

    def masked(name: str, *, until: int) -> Any:
        """A run that rehearses so many rows; none unless its input is large."""
        rehearsed.clear()
        monkeypatch.setattr(FastLoad, "is_done", property(lambda _self: len(rehearsed) > until))
        monkeypatch.setattr(pipeline, "is_large", lambda _sources: until > 0)
        summary = ifttool.mask(path, tmp_path / name, workers=1, max_rejects=10, date="2026-01-31")
        assert min(len(rehearsed), 100) == (until + 1 if until else 0)
        files = {item.name: item.read_bytes() for item in (tmp_path / name).rglob("*") if item.is_file()}
        del files["manifest.json"]  # says when
        return summary.tally, files

    monkeypatch.setattr(Worker, "rehearse", watched)
    tally, files = masked("none", until=0)
    assert tally.total.lines == 49
    assert tally.total.kept == 41
    assert tally.total.rejected == {"IFT102": 2, "IFT202": 2}
    assert tally.total.dropped == {"IFT401": 2}
    for until in (3, 99):
        again, same = masked(f"some{until}", until=until)
        assert (again, same) == (tally, files)
        assert again.renders.total() == tally.renders.total()
