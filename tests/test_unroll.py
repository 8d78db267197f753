"""Unrolling: N assistant turns → N samples, each ending with its turn, nothing trained before it."""

from pathlib import Path

import pytest

import ifttool
from helpers import (
    ROOT,
    TINY,
    RunCli,
    chat,
    content_digests,
    jsonl,
    read_provenance,
    read_shards,
    text_of,
    trained_texts,
)
from ifttool.errors import RowError, UsageError

MESSAGES = TINY["messages"]


def test_rows(tiny: Path) -> None:
    assert list(ifttool.unroll(tiny)) == [
        {"id": "tiny#2", "messages": MESSAGES[:3]},
        {
            "id": "tiny#4",
            "messages": [*MESSAGES[:2], {**MESSAGES[2], "train": False}, *MESSAGES[3:]],
        },
    ]


def test_rows_that_train_earlier_turns_again(tiny: Path) -> None:
    assert list(ifttool.unroll(tiny, train_on="assistant-turns")) == [
        {"id": "tiny#2", "messages": MESSAGES[:3]},
        {"id": "tiny#4", "messages": MESSAGES},
    ]


def test_unrolled_samples(tmp_path: Path, tiny: Path) -> None:
    ifttool.unroll_shards(tiny, tmp_path / "out")
    first, second = read_shards(tmp_path / "out")
    assert trained_texts(first) == ["4<|im_end|>"]
    assert trained_texts(second) == ["Yes.<|im_end|>"]
    assert text_of(first["input_ids"]).endswith("<|im_start|>assistant\n4<|im_end|>\n")
    assert [(row["id"], row["turn"]) for row in read_provenance(tmp_path / "out")] == [("tiny#2", 2), ("tiny#4", 4)]


def test_unrolled_samples_that_train_earlier_turns_again(tmp_path: Path, tiny: Path) -> None:
    ifttool.unroll_shards(tiny, tmp_path / "out", train_on="assistant-turns")
    first, second = read_shards(tmp_path / "out")
    assert trained_texts(first) == ["4<|im_end|>"]
    assert trained_texts(second) == ["4<|im_end|>", "Yes.<|im_end|>"]


def test_unrolled_masks_add_up_to_the_whole(tmp_path: Path) -> None:
    source = ROOT / "samples" / "chat.jsonl"
    ifttool.mask(source, tmp_path / "whole")
    ifttool.unroll_shards(source, tmp_path / "parts")
    whole = read_shards(tmp_path / "whole")
    origins = [row["line"] for row in read_provenance(tmp_path / "parts")]
    union = [[0] * len(row["loss_mask"]) for row in whole]
    for part, line in zip(read_shards(tmp_path / "parts"), origins, strict=True):
        ids = part["input_ids"]
        assert ids == whole[line - 1]["input_ids"][: len(ids)]
        for position, trained in enumerate(part["loss_mask"]):
            assert not (trained and union[line - 1][position]), "a token is trained twice"
            union[line - 1][position] |= trained
    assert union == [row["loss_mask"] for row in whole]
    assert len(origins) == 14


def test_pipe_equals_one_pass(tmp_path: Path, cli: RunCli) -> None:
    source = ROOT / "samples" / "chat.jsonl"
    rows = cli("unroll", source)
    assert (rows.code, rows.err) == (0, "11 lines = 11 kept\n14 samples\n")
    assert cli("mask", "-", "-o", tmp_path / "piped", stdin=rows.out.encode()).code == 0
    assert cli("unroll", source, "-o", tmp_path / "direct").code == 0
    assert content_digests(tmp_path / "piped") == content_digests(tmp_path / "direct")
    ids = [[row["id"] for row in read_provenance(tmp_path / name)] for name in ("piped", "direct")]
    assert ids[0] == ids[1]


def test_tools_and_arguments_survive(tmp_path: Path) -> None:
    source = ROOT / "samples" / "tools.jsonl"
    rows = list(ifttool.unroll(source))
    again = tmp_path / "again.jsonl"
    again.write_bytes(jsonl(*rows))
    ifttool.mask(again, tmp_path / "piped", template="qwen3")
    ifttool.unroll_shards(source, tmp_path / "direct", template="qwen3")
    assert content_digests(tmp_path / "piped") == content_digests(tmp_path / "direct")


def test_qwen3_history_is_exact_once_unrolled(tmp_path: Path) -> None:
    row = chat("1 + 1?", "<think>\none and one\n</think>\n\n2", "Sure?", "Yes.")
    source = tmp_path / "rows.jsonl"
    source.write_bytes(jsonl(row))
    whole = ifttool.mask(source, tmp_path / "whole", template="qwen3")
    parts = ifttool.unroll_shards(source, tmp_path / "parts", template="qwen3")
    assert whole.tally.verdicts == {"history": 1, "exact": 1}
    assert parts.tally.verdicts == {"exact": 2}


def test_a_row_without_a_turn_is_dropped_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(jsonl(chat("Anyone?"), TINY))
    rows = ifttool.unroll(source)
    assert len(list(rows)) == 2
    assert rows.tally.total.dropped == {"IFT401": 1}
    assert (rows.tally.total.kept, rows.tally.samples) == (1, 2)


def test_a_bad_row_raises_unless_someone_takes_it(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"{\n" + jsonl(TINY))
    with pytest.raises(RowError, match=r"rows\.jsonl:1: .*JSON") as error:
        list(ifttool.unroll(source))
    assert error.value.code == "IFT102"
    taken = []
    rows = ifttool.unroll(source, on_reject=lambda place, data, error, kind: taken.append((place.line, data, kind)))
    assert len(list(rows)) == 2
    assert taken == [(1, b"{", "rejected")]


def test_options_that_cannot_apply_are_refused(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    with pytest.raises(UsageError, match="can't train on 'all-tokens'"):
        ifttool.unroll(tiny, train_on="all-tokens")
    stray = cli("unroll", tiny, "--max-length", 5)
    assert (stray.code, stray.out) == (2, "")
    assert stray.err.splitlines()[0] == "ifttool: error: --max-length is for shards only"
    rejects = cli("unroll", tiny, "-o", tmp_path / "out", "--rejects", tmp_path / "r.jsonl")
    assert rejects.code == 2
    assert not (tmp_path / "out").exists()
