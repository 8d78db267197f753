"""Rows of Parquet files as compact JSON, so that all later steps see one kind of input."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ifttool.errors import InputChanged, UsageError
from ifttool.io.inputs import printable
from ifttool.records import Place, RawRow

# Conversations are about 4 KB; this keeps a batch of Python objects near 10 MB.
_BATCH_ROWS = 512


def read_parquet(source: str) -> Iterator[RawRow]:
    """Stream a Parquet file row by row.

    A row's data is its JSON with null struct fields left out: Arrow gives every struct of a column
    the union of all keys, so a tool schema comes padded with the keys of all others. Nulls inside
    lists stay. Columns that hold binary values (images) are left out.

    Yields:
        Rows with ``line`` = row number from 1 and ``byte_start`` = -1.

    Raises:
        UsageError: The file has no column that can be read.
        InputChanged: The file is damaged or cut off.
    """
    row_number = 0
    encoder = msgspec.json.Encoder()
    try:
        with pq.ParquetFile(source) as file:
            schema = file.schema_arrow
            columns = [field.name for field in schema if not _holds_binary(field.type)]
            if not columns:
                raise UsageError(f"{printable(source)} has no text columns: {schema.names}")
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    row_number += 1
                    data = encoder.encode(_without_null_keys(row))
                    yield RawRow(Place(source, row_number, -1, len(data)), data)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputChanged(
            f"{printable(source)}: the Parquet file is damaged after row {row_number} ({reason})"
        ) from None


def _holds_binary(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    return any(_holds_binary(kind.field(i).type) for i in range(kind.num_fields))


def _without_null_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null_keys(v) for key, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_null_keys(v) for v in value]
    return value
