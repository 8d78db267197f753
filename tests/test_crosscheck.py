"""Rows of a run that are done again by the reference path."""

from pathlib import Path
from typing import Any

import pytest

import ifttool
from helpers import RunCli, chat, jsonl
from ifttool.crosscheck import SAMPLED, CrossCheck
from ifttool.encode import Encoder
from ifttool.errors import RunError, UsageError
from ifttool.records import Place
from ifttool.resolve import resolve_recipe
from ifttool.worker import Worker


def checker(**options: Any) -> CrossCheck:
    worker = Worker(resolve_recipe(**options))
    return CrossCheck(worker.recipe, worker.template, worker.tokenizer)


def places(count: int, *, size: int = 100) -> list[Place]:
    return [Place("chat.jsonl", line, line * size, size) for line in range(1, count + 1)]


def test_a_sample_of_lines_is_checked_whatever_the_run() -> None:
    check, again = checker(), checker()
    lines = places(272 * SAMPLED)
    wanted = [place.line for place in lines if check.wants(place)]
    assert wanted == [place.line for place in lines if again.wants(place)]
    # One in 1,024 of the first 16,384 lines, then one in 4,096.
    first = [line for line in wanted if line <= 16 * SAMPLED]
    assert (len(first), len(wanted) - len(first)) == (17, 57)
    # Long rows are dear to check: one in 16,384, near the start as well.
    long = [place.line for place in places(272 * SAMPLED, size=60_000) if check.wants(place)]
    assert (len([line for line in long if line <= 16 * SAMPLED]), len(long)) == (2, 16)
    assert set(long) < set(wanted)


def test_none_and_all() -> None:
    none, every = checker(verify="none"), checker(verify="all")
    assert not any(none.wants(place) for place in places(5000))
    assert all(every.wants(place) for place in places(100))


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
