"""Export of conversations: the inputs read again, through the provenance of samples."""

import json
from pathlib import Path
from typing import Any

import pytest

import ifttool
from export_helpers import CHATS, make_shards, read_jsonl, samples_by_split
from helpers import RunCli, chat, jsonl, read_provenance
from ifttool.errors import InputChanged, UsageError
from ifttool.exporting import messages


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a train and a validation split."""
    return make_shards(tmp_path_factory.mktemp("shards") / "run")


def test_messages(shards: Path, tmp_path: Path) -> None:
    ifttool.export(shards, tmp_path / "out", to="messages")
    assert ifttool.mask(
        tmp_path / "out" / "train.jsonl", tmp_path / "again", template=str(shards.with_suffix(".jinja"))
    ).committed
    assert samples_by_split(tmp_path / "again")["train"] == samples_by_split(shards)["train"]
    inputs = [json.loads(line)["messages"] for path in CHATS for line in path.read_bytes().splitlines()]
    rows = [
        row["messages"] for split in ("train", "validation") for row in read_jsonl(tmp_path / "out" / f"{split}.jsonl")
    ]
    assert sorted(map(json.dumps, rows)) == sorted(map(json.dumps, inputs))


def test_messages_of_unrolled_and_shuffled_samples(tmp_path: Path) -> None:
    make_shards(tmp_path / "run", unroll="always", shuffle=7, validation=None)
    ifttool.export(tmp_path / "run", tmp_path / "out", to="messages")
    places = sorted((row["source"], row["line"], row["turn"]) for row in read_provenance(tmp_path / "run"))
    inputs = {str(path): read_jsonl(path) for path in CHATS}
    expected = [inputs[source][line - 1]["messages"][: turn + 1] for source, line, turn in places]
    rows = [row["messages"] for row in read_jsonl(tmp_path / "out" / "train.jsonl")]
    trained = [[{key: value for key, value in message.items() if key != "train"} for message in row] for row in rows]
    assert trained == expected
    assert [message["train"] for row in rows for message in row[:-1] if message["role"] == "assistant"].count(True) == 0


def test_messages_need_the_same_inputs(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl(chat("Hi", "Hello")))
    ifttool.mask(source, tmp_path / "run")
    moved = source.rename(tmp_path / "moved.jsonl")
    with pytest.raises(UsageError, match=r"the input .*in.jsonl isn't there any more"):
        ifttool.export(tmp_path / "run", tmp_path / "out", to="messages")
    ifttool.export(tmp_path / "run", tmp_path / "out", to="messages", inputs=moved)
    assert json.loads((tmp_path / "out" / "train.jsonl").read_bytes()) == chat("Hi", "Hello")
    source.write_bytes(jsonl(chat("Hi", "Hullo")))
    with pytest.raises(UsageError, match="has changed since the run"):
        ifttool.export(tmp_path / "run", tmp_path / "other", to="messages")


@pytest.mark.parametrize("moment", ["_find_inputs", "_conversations"])
def test_messages_notice_inputs_that_change_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After their digest was checked, before or while they are read; size and line count stay the same."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl(*[chat("Hi", "Hello")] * 3))
    ifttool.mask(source, tmp_path / "run")
    step = getattr(messages, moment)

    def changing(*arguments: Any) -> Any:
        done = step(*arguments)
        if moment == "_conversations":
            done = iter(list(done))
        source.write_bytes(jsonl(*[chat("Hi", "Hullo")] * 3))
        return done

    monkeypatch.setattr(messages, moment, changing)
    with pytest.raises(InputChanged, match=r"in\.jsonl changed while it was read"):
        ifttool.export(tmp_path / "run", tmp_path / "out", to="messages")
    assert not (tmp_path / "out").exists()


def test_messages_refuse_a_stream(cli: RunCli, tmp_path: Path) -> None:
    assert cli("mask", "-", "-o", tmp_path / "run", "-q", stdin=jsonl(chat("Hi", "Hello"))).code == 0
    result = cli("export", tmp_path / "run", "--to", "messages", "-o", tmp_path / "out")
    assert result.code == 2
    assert "was a stream, which can't be read again" in result.err


def test_messages_are_whole_where_samples_were_cut(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    row = chat("Hi", "Hello, hello, hello, hello, hello, hello")
    source.write_bytes(jsonl(row))
    ifttool.mask(source, tmp_path / "run", max_length=24, overflow="truncate")
    summary = ifttool.export(tmp_path / "run", tmp_path / "out", to="messages")
    assert read_jsonl(tmp_path / "out" / "train.jsonl") == [row]
    assert summary.splits["train"].remarks == {messages.CUT: 1}


def test_messages_come_as_often_as_their_samples(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl({"messages": "broken"}, chat("Hi", "Hello"), chat("Bye", "Goodbye")))
    ifttool.mask({str(source): 2}, tmp_path / "run", max_rejects=1)
    ifttool.export(tmp_path / "run", tmp_path / "out", to="messages")
    assert read_jsonl(tmp_path / "out" / "train.jsonl") == [chat("Hi", "Hello")] * 2 + [chat("Bye", "Goodbye")] * 2
