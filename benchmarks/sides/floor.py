"""The floor: parse the JSON, encode text that is already rendered, write the same columns. Nothing else."""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np

from ifttool.records import Place
from ifttool.samples import IntArray, LongArray, Origin, Samples
from ifttool.schema import training_schema
from ifttool.shards import ShardWriter

Encode = Callable[[list[str]], tuple[IntArray, LongArray]]

_BATCH_CHARS = 1 << 20
_ORIGIN = Origin(Place("-", 1, 0, 0), None, None, 1, "exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("texts", type=Path, help="UTF-8, one behind the other; FILE.json says where each ends")
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--times", type=int, default=1, help="how often every row is done")
    given = parser.parse_args()
    given.output.mkdir()
    encode = _encoder(given.tokenizer)
    bounds = json.loads(given.texts.with_suffix(".json").read_bytes())
    # Copies of one process that has loaded the tokenizer, as ifttool's own are.
    context = multiprocessing.get_context("fork")
    shares = [context.Process(target=_work, args=(given, bounds, encode, share)) for share in range(given.processes)]
    for process in shares:
        process.start()
    for process in shares:
        process.join()
    if any(process.exitcode for process in shares):
        raise SystemExit("a process failed")
    os._exit(0)  # as ifttool leaves: Python would clear up for 0.2 s


def _work(given: argparse.Namespace, bounds: dict[str, list[int]], encode: Encode, share: int) -> None:
    """One process's share of the rows."""
    if given.processes > 1:  # as ifttool's own workers do
        os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
    count = len(bounds["texts"]) - 1
    low, high = count * share // given.processes, count * (share + 1) // given.processes
    decoder = msgspec.json.Decoder()
    with (
        given.rows.open("rb") as rows,
        given.texts.open("rb") as texts,
        ShardWriter(
            given.output / f"{share}.parquet", provenance=None, schema=training_schema(), beside=given.processes == 1
        ) as writer,
    ):
        batch, chars = [], 0
        for index in chain.from_iterable(range(low, high) for _ in range(given.times)):
            if index == low:
                rows.seek(bounds["rows"][low])
                texts.seek(bounds["texts"][low])
            decoder.decode(rows.read(bounds["rows"][index + 1] - bounds["rows"][index]))
            text = texts.read(bounds["texts"][index + 1] - bounds["texts"][index]).decode()
            batch.append(text)
            chars += len(text)
            if chars >= _BATCH_CHARS or index == high - 1:
                writer.add(_samples(*encode(batch)))
                batch, chars = [], 0


def _samples(ids: IntArray, rows: LongArray) -> Samples:
    """Ids with a mask of runs, as real masks are: they decide how well the columns compress."""
    mask = (np.arange(len(ids)) // 64 % 2).astype(np.int8)
    return Samples(ids, mask, rows, [_ORIGIN] * (len(rows) - 1))


def _encoder(folder: Path) -> Encode:
    path = str(folder / "tokenizer.json")
    try:
        import fastokens  # noqa: PLC0415 - it has no wheels for some platforms
    except ImportError:
        import tokenizers  # noqa: PLC0415

        slow = tokenizers.Tokenizer.from_file(path)

        def encode(texts: list[str]) -> tuple[IntArray, LongArray]:
            parts = [np.array(found.ids, np.int32) for found in slow.encode_batch_fast(texts, add_special_tokens=False)]
            return np.concatenate(parts), np.cumsum([0, *map(len, parts)], dtype=np.int64)

        return encode
    fast = fastokens.Tokenizer.from_file(path)

    def encode_flat(texts: list[str]) -> tuple[IntArray, LongArray]:
        ids, rows = fast.encode_batch_flat(texts)
        return np.frombuffer(ids, np.int32), np.frombuffer(rows, np.uint64).astype(np.int64)

    return encode_flat


if __name__ == "__main__":
    main()
