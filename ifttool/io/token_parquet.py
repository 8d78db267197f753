"""Parquet files of token lists, written in little more than half of Arrow's time, and smaller.

Arrow's writer goes value by value through levels, dictionaries and masks, four columns a token
(``benchmarks/writing.py`` has both). This one knows that all columns are lists of small integers without nulls, and
does each step for a whole row group (:mod:`ifttool.io.token_pages`). What it writes is plain Parquet: version 1 data
pages, dictionary encoding, zstd, page checksums. The format: ``parquet.thrift`` and ``Encodings.md`` of
apache/parquet-format 2.10.
"""

import base64
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard

from ifttool.io.arrow_arrays import numbers_in
from ifttool.io.thrift import TRUE, Value, binary, i8, i32, i64, list_of, struct
from ifttool.io.token_pages import Chunk, Levels, Numbers, chunk_of, levels_of, numbers_beside, numbers_of

_Array = npt.NDArray[Any]

_MAGIC = b"PAR1"
# Numbers of the enumerations in parquet.thrift.
_INT32, _ZSTD = 1, 6
_REQUIRED, _REPEATED = 0, 2
_AS_LIST, _AS_INT8 = 3, 15
_LIST, _INTEGER = 3, 10  # fields of LogicalType

# Level 3 takes half as long again and saves a twelfth of the bytes; faster ones below 1 cost a quarter more bytes.
_LEVEL = 1


def is_of_tokens(schema: pa.Schema) -> bool:
    """Whether all columns are lists of int32 or int8, and none of them may hold nulls."""
    return len(schema) > 0 and all(_is_of_tokens(field) for field in schema)


def _is_of_tokens(field: pa.Field) -> bool:
    if field.nullable or not pa.types.is_list(field.type) or field.type.value_field.nullable:
        return False
    return bool(pa.types.is_int32(field.type.value_type) or pa.types.is_int8(field.type.value_type))


class TokenParquetWriter:
    """One record batch in, one row group out.

    Args:
        file: Written from its start.
        schema: For which :func:`is_of_tokens` holds.
        written_by: Name and version of the writer, for the footer.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema, *, written_by: str) -> None:
        self._file, self._schema, self._written_by = file, schema, written_by
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._groups: list[Value] = []
        self._rows = 0
        self._at = 0
        self._put(_MAGIC)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a row group.

        Raises:
            OSError: The operating system refused.
        """
        if not batch.num_rows:
            return
        start, columns = self._at, []
        size = compressed = 0
        shared: dict[bytes, Levels] = {}
        tokens: tuple[_Array, Numbers] | None = None
        for field, column in zip(self._schema, batch.columns, strict=True):
            offsets, values = _flat(column)
            # Columns of tokens share their offsets: levels are made once.
            key = offsets.tobytes()
            levels = shared[key] = shared.get(key) or levels_of(offsets)
            numbers = None if tokens is None else numbers_beside(values, *tokens)
            numbers = numbers or numbers_of(values)
            if numbers is not None and values.dtype == np.int32:
                tokens = (values, numbers)
            chunk = chunk_of(values, numbers, levels, self._compressor)
            columns.append(self._column(field.name, chunk, levels.number))
            size += chunk.uncompressed
            compressed += len(chunk.data)
            self._put(chunk.data)
        self._groups.append(
            struct(
                {
                    1: list_of(columns),
                    2: i64(size),
                    3: i64(batch.num_rows),
                    5: i64(start),
                    6: i64(compressed),
                }
            )
        )
        self._rows += batch.num_rows

    def close(self) -> None:
        """Write the footer; the file stays open."""
        fields = {
            1: i32(2),
            2: list_of([struct({4: binary(b"schema"), 5: i32(len(self._schema))}), *self._elements()]),
            3: i64(self._rows),
            4: list_of(self._groups),
            5: list_of([struct({1: binary(key), 2: binary(value)}) for key, value in self._metadata().items()]),
            6: binary(self._written_by.encode()),
        }
        footer = struct(fields).data
        self._put(footer + len(footer).to_bytes(4, "little") + _MAGIC)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)

    def _column(self, name: str, chunk: Chunk, count: int) -> Value:
        """What the footer says of a column chunk that starts here."""
        pages = {9: i64(self._at + chunk.data_page)}
        if chunk.has_dictionary:
            pages[11] = i64(self._at)
        about = struct(
            {
                1: i32(_INT32),
                2: list_of([i32(encoding) for encoding in chunk.encodings]),
                3: list_of([binary(step) for step in (name.encode(), b"list", b"element")]),
                4: i32(_ZSTD),
                5: i64(count),
                6: i64(chunk.uncompressed),
                7: i64(len(chunk.data)),
                **pages,
            }
        )
        return struct({2: i64(self._at), 3: about})

    def _elements(self) -> list[Value]:
        """The schema, flattened: each column is a list group, a repeated group and its element."""
        found = []
        for field in self._schema:
            found.append(
                struct(
                    {
                        3: i32(_REQUIRED),
                        4: binary(field.name.encode()),
                        5: i32(1),
                        6: i32(_AS_LIST),
                        10: struct({_LIST: struct({})}),
                    }
                )
            )
            found.append(struct({3: i32(_REPEATED), 4: binary(b"list"), 5: i32(1)}))
            element = {1: i32(_INT32), 3: i32(_REQUIRED), 4: binary(b"element")}
            if pa.types.is_int8(field.type.value_type):
                element |= {6: i32(_AS_INT8), 10: struct({_INTEGER: struct({1: i8(8), 2: TRUE})})}
            found.append(struct(element))
        return found

    def _metadata(self) -> Mapping[bytes, bytes]:
        """The schema's own, and the schema itself for Arrow's readers, as Arrow's writer puts it there."""
        arrow = base64.b64encode(self._schema.serialize().to_pybytes())
        return {**(self._schema.metadata or {}), b"ARROW:schema": arrow}


def _flat(column: pa.ListArray) -> tuple[npt.NDArray[np.int32], _Array]:
    """Where the rows of a column begin, from 0, and their values one behind the other."""
    offsets = numbers_in(column.offsets, np.int32)
    first, last = int(offsets[0]), int(offsets[-1])
    kind = np.int8 if pa.types.is_int8(column.type.value_type) else np.int32
    return offsets - first, numbers_in(column.values, kind)[first:last]
