"""Figures of conversations and shards: exact, mergeable, and the same from both sides."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ifttool.cli.app import app
from ifttool.errors import InputChanged, UsageError
from ifttool.figures import Distribution, LongSample, Stats, conversation_stats, is_shards, shard_stats
from ifttool.figures.bins import bin_edges
from ifttool.figures.conversations import row_stats
from ifttool.io.source import read_rows
from ifttool.pipeline import run_shards
from ifttool.recipe import Recipe
from ifttool.report.stats_text import stats_text
from ifttool.report.text import bar, histogram, number, percent, table
from ifttool.resolve import resolve_recipe
from ifttool.target import Target
from ifttool.tokenizer.load import load_tokenizer
from ifttool.tolerance import Tolerance
from ifttool.worker import Worker

HOSTILE_ID = "[bold red]x[/] \x1b[31m"


def recipe(**options: Any) -> Recipe:
    return resolve_recipe(template="chatml", date="2026-01-31", **options)


def chat(*texts: str, **row: Any) -> str:
    """A conversation of alternating user and assistant messages, as a JSON line."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return json.dumps({**row, "messages": messages})


LINES = [
    chat("Hi", "Hello there.", id="short"),
    "",
    chat("One?", "Two.", "Three?", "Four and five, and six.", "Seven?", "Eight!", id=HOSTILE_ID),
    "{not json",
    chat("Nobody answers."),
    json.dumps(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "critic", "content": "Hm."},
                {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": "Because."},
            ]
        }
    ),
]


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def chatml_tokens(*messages: tuple[str, str]) -> int:
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return len(load_tokenizer("default").backend.encode(text, add_special_tokens=False).ids)


def test_figures_of_conversations(conversations: Path) -> None:
    stats = conversation_stats([str(conversations)], recipe=recipe(max_length=8))
    lengths = {
        1: chatml_tokens(("user", "Hi"), ("assistant", "Hello there.")),
        3: chatml_tokens(
            ("user", "One?"),
            ("assistant", "Two."),
            ("user", "Three?"),
            ("assistant", "Four and five, and six."),
            ("user", "Seven?"),
            ("assistant", "Eight!"),
        ),
        6: chatml_tokens(("system", "Be brief."), ("critic", "Hm."), ("user", "Why?"), ("assistant", "Because.")),
    }
    assert all(length > 8 for length in lengths.values()), "the limit would have dropped every sample"
    plain = stats.as_json(max_length=lengths[1], batch_size=2)

    assert (plain["rows"], plain["kept"], plain["samples"]) == (5, 3, 3)
    assert plain["messages"] == {"assistant": 5, "other": 1, "system": 1, "user": 5}
    assert plain["turns"]["total"] == 5
    assert (plain["turns"]["min"], plain["turns"]["p50"], plain["turns"]["max"]) == (1, 1, 3)
    assert plain["tokens"]["total"] == sum(lengths.values())
    assert plain["tokens"]["mean"] == sum(lengths.values()) / 3
    assert [(s["line"], s["tokens"]) for s in plain["longest"]] == sorted(lengths.items(), key=lambda item: -item[1])
    assert plain["longest"][0] == {
        "tokens": lengths[3],
        "trained_tokens": stats.longest[0].trained_tokens,
        "source": str(conversations),
        "line": 3,
        "id": HOSTILE_ID,
        "turn": None,
    }
    over = [length for length in lengths.values() if length > lengths[1]]
    assert plain["over_length"] == {
        "max_length": lengths[1],
        "samples": len(over),
        "share": len(over) / 3,
        "tokens": sum(over),
        "excess_tokens": sum(over) - lengths[1] * len(over),
    }
    assert plain["epoch"] == {"batch_size": 2, "steps": 1}
    assert plain["verdicts"] == {"exact": 5}
    assert plain["ledger"] == {
        "lines": 6,
        "blanks": 1,
        "kept": 3,
        "rejected": {"IFT102": 1},
        "dropped": {"IFT401": 1},
    }
    assert plain["inputs"] == {str(conversations): plain["ledger"]}


def test_trained_tokens_are_the_completions_with_their_end_of_turn(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(chat("Hi", "Hello there.") + "\n")
    whole = chatml_tokens(("user", "Hi"), ("assistant", "Hello there."))
    encode = load_tokenizer("default").backend.encode
    trained = len(encode("Hello there.<|im_end|>", add_special_tokens=False).ids)

    plain = conversation_stats([str(path)], recipe=recipe()).as_json()["trained_tokens"]

    assert (plain["total"], plain["per_turn"], plain["max"]) == (trained, trained, trained)
    assert plain["share"] == trained / whole


def test_without_loss_masks_trained_tokens_are_unknown(conversations: Path) -> None:
    stats = conversation_stats([str(conversations)], recipe=recipe(train_on="all-tokens", bears_loss=False))
    plain = stats.as_json()
    assert plain["samples"] == 4
    assert plain["trained_tokens"] is None
    assert plain["trained_percent"] is None
    assert {sample["trained_tokens"] for sample in plain["longest"]} == {None}
    assert "trained tokens" not in stats_text(stats)


def test_messages_of_an_unrolled_row_count_once(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(chat("One?", "Two.", "Three?", "Four.", "Five?", "Six.") + "\n")
    plain = conversation_stats([str(path)], recipe=recipe(unroll="always")).as_json()
    assert (plain["rows"], plain["samples"], plain["turns"]["total"]) == (1, 3, 3)
    assert plain["messages"] == {"assistant": 3, "user": 3}
    assert [sample["turn"] for sample in plain["longest"]] == [5, 3, 1]


def test_rows_measured_in_parts_add_up_to_the_whole(conversations: Path) -> None:
    worker = Worker(recipe())
    items = list(read_rows(str(conversations)))
    whole = row_stats(items, worker)
    for cut in range(len(items) + 1):
        assert row_stats(items[:cut], worker) + row_stats(items[cut:], worker) == whole


def test_refused_rows_and_progress_are_reported(conversations: Path) -> None:
    refused: list[tuple[int, str, str]] = []
    seen: list[tuple[int, int]] = []
    conversation_stats(
        [str(conversations)],
        recipe=recipe(),
        refuse=lambda place, _data, error, kind: refused.append((place.line, error.code, kind)),
        on_progress=lambda tally, read: seen.append((tally.samples, read)),
    )
    assert refused == [(4, "IFT102", "rejected"), (5, "IFT401", "dropped")]
    assert seen == [(3, sum(len(line) for line in LINES))]


@pytest.mark.parametrize("options", [{}, {"unroll": "always"}, {"train_on": "all-tokens"}], ids=str)
@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_shards_have_the_figures_of_their_conversations(
    conversations: Path, tmp_path: Path, file_format: Any, options: dict[str, Any]
) -> None:
    target = Target(tmp_path / "out", file_format=file_format)
    run_shards(recipe(**options), [str(conversations)], target, tolerance=Tolerance(1))

    from_rows = conversation_stats([str(conversations)], recipe=recipe(**options))
    from_shards = shard_stats([target.path])

    assert is_shards(str(target.path))
    assert not is_shards(str(conversations))
    assert from_shards == from_rows
    assert from_shards.as_json(max_length=20) == from_rows.as_json(max_length=20)
    assert stats_text(from_shards) == stats_text(from_rows)

    single = shard_stats(sorted((target.path / "data").iterdir()))
    assert single.longest == from_rows.longest, "the sidecar beside a shard names its rows"
    assert single.turns == from_rows.turns
    assert single.tally is None


def test_a_single_file_is_measured_without_a_ledger(conversations: Path, tmp_path: Path) -> None:
    target = Target(tmp_path / "out.parquet")
    run_shards(recipe(), [str(conversations)], target, tolerance=Tolerance(1))
    plain = shard_stats([target.path]).as_json()
    expected = conversation_stats([str(conversations)], recipe=recipe()).as_json()

    assert is_shards(str(target.path))
    assert plain["tokens"] == expected["tokens"]
    assert plain["trained_percent"] == expected["trained_percent"]
    assert [plain[name] for name in ("rows", "messages", "turns", "verdicts", "ledger")] == [None] * 5
    assert (plain["longest"][0]["source"], plain["longest"][0]["line"]) == (str(target.path), 2)
    assert plain["longest"][0]["tokens"] == expected["longest"][0]["tokens"]


def test_a_sidecar_of_another_run_is_refused(conversations: Path, tmp_path: Path) -> None:
    target = Target(tmp_path / "out")
    run_shards(recipe(), [str(conversations)], target, tolerance=Tolerance(1))
    sidecar = next((target.path / "provenance").iterdir())
    pq.write_table(pq.read_table(sidecar).slice(1), sidecar)
    with pytest.raises(InputChanged, match="has 2 rows, its shard 3"):
        shard_stats([target.path])


def test_a_missing_shard_and_a_foreign_manifest_are_refused(conversations: Path, tmp_path: Path) -> None:
    target = Target(tmp_path / "out")
    run_shards(recipe(), [str(conversations)], target, tolerance=Tolerance(1))
    next((target.path / "data").iterdir()).unlink()
    with pytest.raises(InputChanged, match="missing"):
        shard_stats([target.path])
    (target.path / "manifest.json").write_text('{"shards": [{"path": "x"}]}')
    with pytest.raises(UsageError, match=r"isn't a manifest of ifttool"):
        shard_stats([target.path])


def test_foreign_shards(tmp_path: Path) -> None:
    ids = [[1, 2, 3, 4], None, [5], list(range(10))]
    labels = [[-100, -100, 3, 4], None, [-100], list(range(10))]
    table_ = pa.table(
        {
            "input_ids": pa.array(ids, pa.large_list(pa.int64())),
            "labels": pa.array(labels, pa.large_list(pa.int64())),
        }
    )
    parquet, stream = tmp_path / "a.parquet", tmp_path / "b.arrow"
    pq.write_table(table_, parquet)
    with pa.ipc.new_stream(stream, table_.schema) as writer:
        writer.write_table(table_)
    for path in (parquet, stream):
        assert is_shards(str(path))
        stats = shard_stats([path])
        assert sorted(stats.tokens.counts.elements()) == [0, 1, 4, 10]
        assert sorted(stats.trained.counts.elements()) == [0, 0, 2, 10]
        assert sorted(stats.shares.counts.elements()) == [0, 0, 50, 100]
        assert [(long.tokens, long.line) for long in stats.longest] == [(10, 4), (4, 1), (1, 3), (0, 2)]
    assert shard_stats([parquet, stream]).tokens.total == 30

    pq.write_table(table_.select(["input_ids"]), parquet)
    without = shard_stats([parquet]).as_json()
    assert (without["samples"], without["trained_tokens"]) == (4, None)
    both = shard_stats([parquet, stream]).as_json()
    assert both["trained_tokens"] is None, "half of the masks would make a wrong share"

    pq.write_table(pa.table({"input_ids": [1, 2]}), parquet)
    with pytest.raises(UsageError, match="no lists of input_ids"):
        shard_stats([parquet])
    parquet.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputChanged, match="damaged"):
        is_shards(str(parquet))


LENGTHS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 100)), max_size=40)


def measured(rows: list[tuple[int, int]], start: int) -> Stats:
    lengths = np.array([length for length, _ in rows], np.int64)
    trained = lengths * np.array([share for _, share in rows], np.int64) // 100
    stats = Stats()
    stats.turns.add(trained % 7)
    stats.add(
        lengths,
        trained,
        describe=lambda i: LongSample(int(lengths[i]), int(trained[i]), "rows.jsonl", start + i),
    )
    return stats


@given(LENGTHS, st.lists(st.integers(0, 40), max_size=4))
def test_partial_figures_add_up_to_the_whole(rows: list[tuple[int, int]], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [measured(rows[low:high], low) for low, high in pairwise(edges)]
    whole = measured(rows, 0)
    assert sum(parts, Stats()) == whole
    assert sum(parts, Stats()).as_json(max_length=100, batch_size=3) == whole.as_json(max_length=100, batch_size=3)
    by_length = sorted(range(len(rows)), key=lambda i: -rows[i][0])[:5]
    assert [sample.line for sample in whole.longest] == by_length


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(0, 100))
def test_percentiles_are_the_smallest_value_that_covers_enough(values: list[int], percent_: int) -> None:
    distribution = Distribution()
    distribution.add(np.array(values, np.int64))
    covered = next(v for v in sorted(values) if sum(w <= v for w in values) * 100 >= percent_ * len(values))
    assert distribution.percentiles([percent_]) == [covered]
    assert (distribution.count, distribution.total) == (len(values), sum(values))


def test_known_percentiles() -> None:
    distribution = Distribution()
    distribution.add(np.arange(1, 201))
    assert distribution.as_json() == {
        "min": 1,
        "mean": 100.5,
        "p5": 10,
        "p25": 50,
        "p50": 100,
        "p75": 150,
        "p90": 180,
        "p95": 190,
        "p99": 198,
        "max": 200,
    }
    assert set(Distribution().as_json().values()) == {None}


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_bins_cover_all_lengths_with_round_edges(one: int, other: int) -> None:
    low, high = sorted((one, other))
    edges = bin_edges(low, high)
    assert edges == sorted(set(edges))
    assert edges[0] <= low < edges[1], "the first bin isn't empty"
    assert edges[-2] <= high < edges[-1], "neither is the last"
    assert len(edges) <= 17


@pytest.mark.parametrize(
    ("low", "high", "edges"),
    [
        (7, 7, [7, 8]),
        (100, 190, [*range(100, 201, 10)]),
        (0, 3, [0, 1, 2, 3, 4]),
        (20, 700, [0, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]),
        (40, 20000, [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]),
    ],
)
def test_known_bins(low: int, high: int, edges: list[int]) -> None:
    assert bin_edges(low, high) == edges


def test_steps_of_an_epoch_are_rounded_up() -> None:
    stats = Stats()
    stats.add(np.array([5, 5, 5, 50, 50]), None, describe=lambda i: LongSample(5, None, "x", i))
    assert [stats.steps(size) for size in (1, 2, 5, 8)] == [5, 3, 1, 1]
    assert [stats.steps(2, max_length=limit) for limit in (4, 5, 49, 50)] == [0, 2, 2, 3]


def test_nothing_is_measured_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    stats = conversation_stats([str(path)], recipe=recipe())
    plain = stats.as_json(max_length=10, batch_size=4)
    assert (plain["samples"], plain["histogram"], plain["longest"]) == (0, [], [])
    assert plain["trained_tokens"]["share"] is None
    assert plain["over_length"]["share"] is None
    assert plain["epoch"]["steps"] == 0
    assert "1 line = 0 kept + 0 rejected + 0 dropped + 1 blank" in stats_text(stats, max_length=10)


def test_text_blocks() -> None:
    assert [number(v) for v in (None, 1234567, 2.25, 0)] == ["-", "1,234,567", "2.2", "0"]
    assert [percent(v) for v in (None, 0.0, 0.0001, 0.5)] == ["-", "0.0%", "<0.1%", "50.0%"]
    assert [bar(share, width=4) for share in (0.0, 0.001, 0.5, 0.65625, 1.0)] == ["", "▏", "██", "██▋", "████"]
    assert [bar(share, width=4, ascii_only=True) for share in (0.0, 0.001, 0.5, 1.0)] == ["", "#", "##", "####"]
    assert table([["a", "1"], ["b\x1b[1m", "22"]]) == ["a          1", "b\\x1b[1m  22"]
    assert histogram([(0, 1000, 3), (1000, 2000, 0), (2000, 3000, 1)], ascii_only=True) == [
        f"    0  -    999  3  75.0%  {'#' * 40}",
        "1,000  -  1,999  0   0.0%",
        f"2,000  -  2,999  1  25.0%  {'#' * 13}",
    ]
    assert histogram([]) == []


def test_long_ids_are_cut_in_the_text_only() -> None:
    stats = Stats()
    stats.add(np.array([5]), None, describe=lambda _: LongSample(5, None, "x", 1, id="i" * 100))
    assert f"{'i' * 45}...\n" in stats_text(stats)
    assert stats.as_json()["longest"][0]["id"] == "i" * 100


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["stats", *arguments])


def test_command_prints_one_json_object(conversations: Path) -> None:
    arguments = [str(conversations), "-t", "chatml", "--date", "2026-01-31", "--batch-size", "2", "--json"]
    result = run(*arguments)
    assert result.exit_code == 1, "a rejected row is more than --max-rejects 0 allows"
    expected = conversation_stats([str(conversations)], recipe=recipe()).as_json(batch_size=2)
    assert json.loads(result.stdout) == expected
    assert "IFT102" in result.stderr
    assert run(*arguments, "--max-rejects", "1").exit_code == 0


def test_command_prints_data_as_it_is_but_for_control_characters(conversations: Path) -> None:
    result = run(str(conversations), "-t", "chatml", "--max-rejects", "1", "--max-length", "12")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "[bold red]x[/] \\x1b[31m" in result.stdout
    assert f"{conversations}:3" in result.stdout
    assert "6 lines = 3 kept + 1 rejected + 1 dropped + 1 blank" in result.stdout
    assert "5 assistant, 5 user, 1 other, 1 system" in result.stdout


def test_command_measures_shards_and_refuses_a_mixture(conversations: Path, tmp_path: Path) -> None:
    target = Target(tmp_path / "out")
    run_shards(recipe(), [str(conversations)], target, tolerance=Tolerance(1))
    result = run(str(target.path), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == shard_stats([target.path]).as_json()

    mixed = run(str(target.path), str(conversations))
    assert mixed.exit_code == 2
    assert mixed.stdout == ""
    assert "measure one kind at a time" in mixed.stderr
    assert run(str(tmp_path)).exit_code == 2, "a folder without a manifest"
