"""Rows of a run that are done again by the reference path."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import ifttool
from helpers import RunCli, chat, jsonl
from ifttool.crosscheck import SAMPLED, CrossCheck
from ifttool.encode import Encoder
from ifttool.errors import RunError, UsageError
from ifttool.records import Place, RawRow
from ifttool.resolve import resolve_recipe
from ifttool.worker import Worker


def checker(**options: Any) -> CrossCheck:
    worker = Worker(resolve_recipe(**options))
    return CrossCheck(worker.recipe, worker.template, worker.tokenizer)


def checked(check: CrossCheck, count: int, *, size: int = 100, batch: int | None = None) -> list[int]:
    """The lines that are checked of so many, looked at so many at a time."""
    rows = [RawRow(Place("chat.jsonl", line, line * size, size), b"") for line in range(1, count + 1)]
    batches = [rows[at : at + (batch or count)] for at in range(0, count, batch or count)]
    return [some[index].place.line for some in batches for index in check.chosen(some)]


def test_a_sample_of_lines_is_checked_whatever_the_run() -> None:
    count = 272 * SAMPLED
    wanted = checked(checker(), count)
    assert wanted == checked(checker(), count, batch=1000)
    # One in 16 of the first 256 lines, in 256 up to line 4,096, in 1,024 up to 16,384, then in 4,096.
    ends = (0, 256, 4096, 16 * SAMPLED, count)
    assert [sum(low < line <= high for line in wanted) for low, high in pairwise(ends)] == [21, 15, 9, 58]
    # Of rows that aren't short no more are taken at the start than later on.
    middling = checked(checker(), count, size=5_000)
    assert [sum(low < line <= high for line in middling) for low, high in pairwise(ends)] == [0, 3, 9, 58]
    assert set(middling) < set(wanted)
    # Long rows are dear to check: one in 16,384, near the start as well.
    long = checked(checker(), count, size=60_000)
    assert (len([line for line in long if line <= 16 * SAMPLED]), len(long)) == (0, 16)
    assert set(long) < set(wanted)


def test_none_and_all() -> None:
    assert not checked(checker(verify="none"), 5000)
    assert checked(checker(verify="all"), 100) == [*range(1, 101)]


def test_all_rows_agree_with_the_reference(tmp_path: Path) -> None:
    rows = [chat("Hi", f"{number}.", "More?", "<think>x</think>No.", id=str(number)) for number in range(12)]
    (tmp_path / "in.jsonl").write_bytes(jsonl(*rows))
    for options in (
        {},
        {"unroll": "auto", "template": "qwen3"},
        {"train_reasoning": False, "template": "qwen3"},
        {"max_length": 40, "overflow": "truncate"},
        {"turn_tokens": (3, None)},
        {"append_eos": True, "template": "vicuna"},
        {"train_on": "final-turn", "template": "vicuna", "allow_text_markers": True},
    ):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        summary = ifttool.mask(tmp_path / "in.jsonl", out, verify="all", workers=1, **options)  # type: ignore[arg-type]
        assert summary.tally.total.kept > 0


def test_a_difference_stops_the_run_and_names_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(chat("Hi", "Yes."), chat("Hi", "No.")))
    masked = Encoder.masked

    def wrong(self: Encoder, samples: Any, flat: Any) -> Any:
        encoded = masked(self, samples, flat)
        encoded.mask[-3] ^= 1
        return encoded

    monkeypatch.setattr(Encoder, "masked", wrong)
    with pytest.raises(RunError, match=r"in\.jsonl:2 isn't what the reference path makes of it: the loss mask differ"):
        ifttool.mask(tmp_path / "in.jsonl", tmp_path / "out", verify="all", workers=1)
    assert not (tmp_path / "out" / "manifest.json").exists()
    ifttool.mask(tmp_path / "in.jsonl", tmp_path / "unchecked", verify="none", workers=1)


def test_the_option_on_the_command_line(tmp_path: Path, cli: RunCli) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(chat("Hi", "Yes.")))
    assert cli("mask", tmp_path / "in.jsonl", "-o", tmp_path / "out", "--verify", "all").code == 0
    done = cli("mask", tmp_path / "in.jsonl", "-o", tmp_path / "out2", "--verify", "some")
    assert (done.code, "choose one of none, sample, all" in done.err) == (2, True)
    with pytest.raises(UsageError):
        resolve_recipe(verify="some")
