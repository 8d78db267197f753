"""A thread beside its caller: order, back-pressure, and errors that come out."""

import threading
from pathlib import Path

import numpy as np
import pytest

from ifttool import shards
from ifttool.background import Background
from ifttool.records import Place
from ifttool.samples import Origin, Samples
from ifttool.schema import training_schema
from ifttool.shards import ShardWriter


def test_calls_run_in_order_and_one_at_a_time() -> None:
    done: list[int] = []
    free = threading.Event()

    def call(number: int) -> int:
        if number == 0:
            free.wait(10)
        done.append(number)
        return number * 10

    with Background[int]() as thread:
        assert thread.start(call, 0) is None
        assert done == []
        threading.Timer(0.05, free.set).start()
        # Back-pressure: the second call doesn't queue up behind the first, its caller waits.
        assert thread.start(call, 1) == 0
        assert done[0] == 0
        assert thread.result() == 10
        assert thread.result() is None
    assert done == [0, 1]


def test_without_a_thread_calls_are_done_where_they_are_started() -> None:
    with Background[int](beside=False) as here:
        assert here.start(threading.get_ident) is None
        assert here.start(lambda: 2) == threading.get_ident()
        assert here.result() == 2
        with pytest.raises(ZeroDivisionError):
            here.start(lambda: 1 // 0)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_errors_come_out_once(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("no")

    with Background[None]() as thread:
        thread.start(fail)
        with pytest.raises(error, match="no"):
            thread.result()
        thread.start(fail)
        with pytest.raises(error, match="no"):
            thread.start(fail)
        assert thread.result() is None


@pytest.mark.parametrize("adds", [1, 2, 5])
def test_a_shard_that_fails_in_the_thread_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adds: int
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "ROW_GROUP_TOKENS", 4)
    monkeypatch.setattr(shards, "training_batch", fail)
    sample = Samples(
        np.arange(6, dtype=np.int32),
        np.ones(6, np.int8),
        np.array([0, 6], np.int64),
        [Origin(Place("a.jsonl", 1, 0, 1), None, None, 1, "exact")],
    )
    with (
        pytest.raises(Exception, match="No space left on device"),
        ShardWriter(tmp_path / "s.parquet", provenance=tmp_path / "p.parquet", schema=training_schema()) as writer,
    ):
        for _ in range(adds):
            writer.add(sample)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == 1
