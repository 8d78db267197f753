"""The ledger: every line is accounted for once, and parts add up to the whole."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ifttool
from helpers import TINY, chat, jsonl, read_manifest
from ifttool.errors import RowError, RunError, UsageError
from ifttool.io.source import MAX_LINE_BYTES
from ifttool.ledger import SourceLedger, Tally, reject_line
from ifttool.records import Place
from ifttool.tolerance import Tolerance

CODES = st.sampled_from(["IFT101", "IFT301", "IFT402"])
COUNTERS = st.dictionaries(CODES, st.integers(1, 9)).map(Counter)
COUNTS = st.integers(0, 9)
LEDGERS = st.builds(SourceLedger, COUNTS, COUNTS, COUNTS, COUNTERS, COUNTERS)
TALLIES = st.builds(
    Tally,
    sources=st.dictionaries(st.sampled_from("ab"), LEDGERS),
    samples=COUNTS,
    tokens=COUNTS,
    trained_tokens=COUNTS,
    messages=COUNTERS,
    verdicts=COUNTERS,
    findings=COUNTERS,
)


@given(parts=st.lists(TALLIES, min_size=3, max_size=3))
def test_tallies_add_up_in_any_grouping(parts: list[Tally]) -> None:
    a, b, c = parts
    assert (a + b) + c == a + (b + c)
    assert (a + b).tokens == a.tokens + b.tokens
    assert Tally() + a == a


@given(tally=TALLIES)
def test_json_gives_the_tally_back(tally: Tally) -> None:
    assert Tally.from_json(json.loads(json.dumps(tally.as_json()))) == tally


def test_a_line_that_is_lost_is_an_error() -> None:
    tally = Tally({"rows.jsonl": SourceLedger(lines=3, kept=1, blanks=1)})
    with pytest.raises(RunError, match=r"rows\.jsonl has 3 lines but 2 are accounted for"):
        tally.check()
    tally.of("rows.jsonl").rejected["IFT102"] += 1
    tally.check()


GOOD = jsonl(TINY)[:-1]
LINES = {
    "kept": GOOD,
    "blank": b"",
    "spaces": b" \t ",
    "IFT102": b"{",
    "IFT104": b"[1]",
    "IFT201": b'{"no": "conversation"}',
    "IFT101": b'{"messages": "\xff"}',
    "IFT401": jsonl(chat("Anyone?"))[:-1],
}


@given(kinds=st.lists(st.sampled_from(sorted(LINES)), max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_conservation(tmp_path: Path, kinds: list[str]) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"".join(LINES[kind] + b"\n" for kind in kinds))
    summary = ifttool.mask(source, tmp_path / "out", force=True, max_rejects="100%")
    counts = Counter(kinds)
    assert summary.tally.sources[str(source)] == SourceLedger(
        lines=len(kinds),
        blanks=counts["blank"] + counts["spaces"],
        kept=counts["kept"],
        rejected=Counter(kind for kind in kinds if kind in ("IFT101", "IFT102", "IFT104", "IFT201")),
        dropped=Counter(kind for kind in kinds if kind == "IFT401"),
    )
    assert summary.tally.samples == counts["kept"]
    assert (tmp_path / "out" / "rejects.jsonl").exists() is (summary.rejects is not None)


@pytest.mark.parametrize(("end", "code"), [(b"", "IFT109"), (b"\n", "IFT102")])
def test_a_last_line_that_is_cut_off(tmp_path: Path, end: bytes, code: str) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(GOOD + b"\n" + GOOD[:-5] + end)
    rows = ifttool.unroll(source, on_reject=lambda *_arguments: None)
    assert len(list(rows)) == 2
    assert rows.tally.total == SourceLedger(lines=2, kept=1, rejected=Counter({code: 1}))


def test_an_over_long_line_is_one_reject(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"x" * (MAX_LINE_BYTES + 1) + b"\n" + GOOD + b"\n")
    summary = ifttool.mask(source, tmp_path / "out", max_rejects=1)
    assert summary.tally.total.rejected == {"IFT106": 1}
    (record,) = map(json.loads, (tmp_path / "out" / "rejects.jsonl").read_bytes().splitlines())
    assert (record["line"], record["byte_len"], record["raw_b64"]) == (1, MAX_LINE_BYTES + 1, None)


def test_samples_over_the_limit(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(jsonl(TINY, chat("Hi", "Yo")))
    dropped = ifttool.mask(source, tmp_path / "out", max_length=20)
    assert dropped.committed
    assert dropped.tally.total.dropped == {"IFT402": 1}
    refused = ifttool.mask(source, tmp_path / "out", max_length=20, overflow="error", force=True)
    assert not refused.committed
    assert refused.tally.total.rejected == {"IFT402": 1}
    part = ifttool.unroll_shards(source, tmp_path / "out", max_length=40, force=True)
    assert part.tally.samples_dropped == {"IFT402": 1}
    assert part.tally.total == SourceLedger(lines=2, kept=2)
    assert read_manifest(tmp_path / "out")["samples"] == 2


def test_reject_line_keeps_any_bytes() -> None:
    data = bytes(range(256))
    line = reject_line(Place("a\udcff.jsonl", 3, 70, 256), data, RowError("IFT101", "m", path="p"), kind="rejected")
    assert line.count(b"\n") == 1
    record: dict[str, Any] = json.loads(line)
    assert base64.b64decode(record.pop("raw_b64")) == data
    assert record == {
        "kind": "rejected",
        "file": "a\udcff.jsonl",
        "line": 3,
        "byte_start": 70,
        "byte_len": 256,
        "code": "IFT101",
        "path": "p",
        "message": "m",
        "hint": "",
    }


@pytest.mark.parametrize(
    ("text", "rejected", "rows", "fine"),
    [
        ("0", 0, 9, True),
        ("0", 1, 9, False),
        ("2", 2, 9, True),
        ("2", 3, 9, False),
        ("10%", 1, 10, True),
        ("10%", 2, 10, False),
        ("0%", 0, 0, True),
        ("0.5%", 1, 200, True),
    ],
)
def test_tolerance(text: str, rejected: int, rows: int, fine: bool) -> None:
    ledger = SourceLedger(lines=rows + 5, blanks=5, kept=rows - rejected, rejected=Counter(IFT102=rejected))
    assert Tolerance.parse(text).allows(ledger) is fine


@pytest.mark.parametrize("text", ["", "-1", "x", "1.5", "101%", "-1%", "nan%", "%"])
def test_tolerances_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--max-rejects can't be"):
        Tolerance.parse(text)
