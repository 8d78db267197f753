"""Lengths and provenance of finished shards, ours or foreign, without reading a token id."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ifttool.errors import InputChanged, UsageError
from ifttool.io.inputs import printable
from ifttool.samples import LongArray
from ifttool.schema import IGNORE_LABEL

# Foreign files may hold one row group of millions of rows; 1024 rows of 8k tokens are 8 to 64 MB.
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Some rows of a shard.

    Attributes:
        tokens: Length of each, shape (rows,), int64.
        trained: Training targets of each, shape (rows,), int64; None if the shard has no loss mask.
    """

    tokens: LongArray
    trained: LongArray | None


def is_shard(path: Path) -> bool:
    """Whether a file holds samples: it is Arrow IPC, or Parquet with ``input_ids`` or our schema metadata.

    Raises:
        UsageError: It can't be opened.
        InputChanged: It is damaged.
    """
    if path.suffix == ".arrow":
        return True
    if path.suffix != ".parquet":
        return False
    with _reading(path):
        schema = pq.read_schema(path)
    return "input_ids" in schema.names or b"ifttool" in (schema.metadata or {})


def read_description(path: Path) -> tuple[list[str], dict[str, Any]]:
    """The columns of a shard, and what ifttool wrote of it into its schema (empty for foreign shards).

    Raises:
        UsageError: It can't be opened.
        InputChanged: It is damaged.
    """
    with _reading(path):
        schema, _ = _open(path)
    return list(schema.names), json.loads((schema.metadata or {}).get(b"ifttool", b"{}"))


def read_lengths(path: Path) -> Iterator[RowLengths]:
    """Lengths of a shard's rows, batch by batch.

    Targets are the ones of ``loss_mask``, or the ``labels`` other than -100. Lists of any Arrow kind and integer
    width will do. Only that column is read, so that ids are neither decompressed nor decoded.

    Raises:
        UsageError: It can't be opened, or has no ``input_ids``.
        InputChanged: It is damaged.
    """
    with _reading(path):
        schema, batches = _open(path)
        name = next((name for name in ("loss_mask", "labels", "input_ids") if name in schema.names), None)
        if name is None or not hasattr(schema.field(name).type, "value_type"):
            raise UsageError(f"{printable(str(path))} has no lists of input_ids: {schema.names}")
        for batch in batches([name]):
            yield _lengths(batch.column(name), name)


def sample_sidecar(sidecar: Path | None) -> Path | None:
    """A provenance sidecar if it says where samples come from. That of packs names rows of other shards instead."""
    return sidecar if sidecar is not None and "source" in read_description(sidecar)[0] else None


def read_turns(sidecar: Path) -> Iterator[LongArray]:
    """The number of trained turns of each row of a provenance sidecar, batch by batch; shape (rows,), int64."""
    with _reading(sidecar):
        _, batches = _open(sidecar)
        for batch in batches(["turns"]):
            yield batch.column("turns").to_numpy(zero_copy_only=False).astype(np.int64)


def read_provenance(sidecar: Path, row: int) -> dict[str, Any]:
    """``source``, ``line``, ``id`` and ``turn`` of row ``row`` (from 0) of a provenance sidecar."""
    with _reading(sidecar), pq.ParquetFile(sidecar, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                table = file.read_row_group(group, columns=["source", "line", "id", "turn"])
                found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
                return found
            row -= rows
    raise InputChanged(f"{printable(str(sidecar))} ends before its shard does")


def read_columns(path: Path, names: Sequence[str]) -> Iterator[Any]:
    """Those of the named columns that a shard or sidecar has, as record batches; page checksums are verified.

    Raises:
        UsageError: It can't be opened.
        InputChanged: It is damaged.
    """
    with _reading(path):
        schema, batches = _open(path)
        yield from batches([name for name in names if name in schema.names])


def _lengths(column: Any, name: str) -> RowLengths:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if name == "input_ids":
        return RowLengths(lengths, None)
    values = column.flatten().to_numpy(zero_copy_only=False)
    targets = values != IGNORE_LABEL if name == "labels" else values != 0
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(targets, dtype=np.int64)))
    ends = np.cumsum(lengths)
    return RowLengths(lengths, sums[ends] - sums[ends - lengths])


def _open(path: Path) -> tuple[Any, Any]:
    """The schema of a shard, and a function that streams some of its columns."""
    if path.suffix != ".arrow":
        schema = pq.read_schema(path)

        def parquet(columns: list[str]) -> Iterator[Any]:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)

        return schema, parquet

    with pa.memory_map(str(path)) as source:
        schema = _ipc_reader(source).schema

    def arrow(columns: list[str]) -> Iterator[Any]:
        wanted = [schema.get_field_index(name) for name in columns]
        with pa.memory_map(str(path)) as source:
            reader = _ipc_reader(source, pa.ipc.IpcReadOptions(included_fields=wanted))
            if isinstance(reader, pa.RecordBatchStreamReader):
                yield from reader
                return
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)

    return schema, arrow


def _ipc_reader(source: Any, options: Any = None) -> Any:
    """``datasets`` writes ``.arrow`` files in the stream format, everybody else in the file format."""
    try:
        return pa.ipc.open_file(source, options=options)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source, options=options)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UsageError(f"can't read {printable(str(path))}: {error.strerror}") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputChanged(f"{printable(str(path))} is damaged ({printable(reason)})") from None
