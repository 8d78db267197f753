"""Writing token columns: our Parquet writer beside Arrow's with several settings, on the tokens of real shards.

python -m benchmarks.writing [--quick]
"""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data, own
from benchmarks.common import Options, Result, scratch, script
from ifttool.io.token_parquet import TokenParquetWriter
from ifttool.shards import read_batches

KINDS = ("english", "mixed")
_MEGABYTES = 30

OURS = "ifttool"
_BSS = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in ("input_ids", "labels")}
ARROW: dict[str, dict[str, Any]] = {
    "Arrow: zstd 1, plain": {"compression": "zstd", "compression_level": 1, "use_dictionary": False},
    "Arrow: zstd 1, dictionary": {"compression": "zstd", "compression_level": 1, "use_dictionary": True},
    "Arrow: zstd 1, byte stream split": {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": False,
        "column_encoding": _BSS,
    },
    "Arrow: its defaults": {},
}

Write = Callable[[io.BytesIO], None]


def batches(kind: str, options: Options) -> list[pa.RecordBatch]:
    """Row groups as ``ifttool mask`` writes them."""
    rows = data.subset(data.dataset(kind, options), megabytes=options.pick(full=_MEGABYTES, quick=5, tiny=1))
    with scratch() as folder:
        own.mask(rows, folder, options, workers=1)
        return [batch for path in sorted(folder.glob("*/data/*.parquet")) for batch in read_batches(path)]


def _by_us(groups: Sequence[pa.RecordBatch]) -> Write:
    def write(file: io.BytesIO) -> None:
        writer = TokenParquetWriter(file, groups[0].schema, written_by="benchmark")
        for batch in groups:
            writer.write(batch)
        writer.close()

    return write


def _by_arrow(groups: Sequence[pa.RecordBatch], settings: dict[str, Any]) -> Write:
    def write(file: io.BytesIO) -> None:
        about = {"write_statistics": False, "write_page_checksum": True, **settings}
        with pq.ParquetWriter(file, groups[0].schema, **about) as writer:
            for batch in groups:
                writer.write_batch(batch, row_group_size=batch.num_rows)

    return write


def measure(groups: Sequence[pa.RecordBatch], options: Options) -> dict[str, tuple[float, int]]:
    """Median CPU seconds and bytes of each side; what they write is compared.

    Raises:
        RuntimeError: A side wrote another table.
    """
    sides = {OURS: _by_us(groups), **{name: _by_arrow(groups, settings) for name, settings in ARROW.items()}}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    sizes = {}
    expected = pa.Table.from_batches(groups)
    for _ in range(options.repeats + 1):  # the first round warms up
        for name, write in sides.items():
            file = io.BytesIO()
            start = time.process_time()
            write(file)
            seconds[name].append(time.process_time() - start)
            sizes[name] = file.tell()
            if len(seconds[name]) == 1 and not pq.read_table(file).equals(expected):
                raise RuntimeError(f"{name}: another table")
    return {name: (statistics.median(times[1:]), sizes[name]) for name, times in seconds.items()}


def body(options: Options, result: Result) -> None:
    rows: list[Sequence[object]] = []
    for kind in KINDS if options.size != "tiny" else ("tools",):
        groups = batches(kind, options)
        tokens = sum(len(batch.column("input_ids").flatten()) for batch in groups)
        found = measure(groups, options)
        for name, (seconds, size) in found.items():
            rows.append(
                [kind, name, 1e9 * seconds / tokens, size / tokens, f"{seconds / found[OURS][0]:.2f}"],
            )
    result.table(
        "Writing the four token columns, row groups of half a million tokens",
        ["data", "writer", "ns a token", "bytes a token", "times ours"],
        rows,
        note=f"Data: {data.origin(options)}, Qwen3's tokens. CPU time of one process, into memory; page checksums and "
        "no statistics on all sides. Tables read back are compared.",
    )


if __name__ == "__main__":
    script("writing", __doc__, body)
