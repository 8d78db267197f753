"""Our Parquet writer for token columns, against Arrow's: the same table comes back, and Arrow's reader checks it."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifttool.io.token_pages import numbers_beside, numbers_of
from ifttool.io.token_parquet import TokenParquetWriter, is_of_tokens
from ifttool.packing.schema import LAYOUTS, packed_schema
from ifttool.packing.schema import PROVENANCE_SCHEMA as PACKED_PROVENANCE
from ifttool.schema import PROVENANCE_SCHEMA, training_schema


def field(name: str, kind: pa.DataType, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("element", kind, nullable=nullable)), nullable=False)


SCHEMA = pa.schema([field("wide", pa.int32()), field("narrow", pa.int8())], metadata={"ifttool": "{}"})
WIDE = {
    "constant": st.just(7),
    "bits": st.sampled_from([-100, -99]),
    "bytes": st.integers(-100, 100),
    "any": st.integers(-(2**31), 2**31 - 1),
    "extremes": st.sampled_from([-(2**31), 2**31 - 1]),
}


def batch_of(wide: list[list[int]], narrow: list[list[int]]) -> pa.RecordBatch:
    columns = [pa.array(rows, one.type) for rows, one in zip((wide, narrow), SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def written(schema: pa.Schema, *batches: pa.RecordBatch) -> bytes:
    file = io.BytesIO()
    writer = TokenParquetWriter(file, schema, written_by="tests version 1")
    for batch in batches:
        writer.write(batch)
    writer.close()
    return file.getvalue()


def read(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data), page_checksum_verification=True)


def by_arrow(schema: pa.Schema, *batches: pa.RecordBatch) -> pa.Table:
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return read(file.getvalue())


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    values = WIDE[draw(st.sampled_from(sorted(WIDE)))]
    lengths = draw(st.lists(st.integers(0, 20), max_size=12))
    wide = [draw(st.lists(values, min_size=size, max_size=size)) for size in lengths]
    if draw(st.booleans()):  # columns need not have rows of the same lengths: packs hold lengths of sequences
        lengths = draw(st.lists(st.integers(0, 3), min_size=len(lengths), max_size=len(lengths)))
    small = st.integers(*draw(st.sampled_from([(0, 0), (0, 1), (-128, 127)])))
    return batch_of(wide, [draw(st.lists(small, min_size=size, max_size=size)) for size in lengths])


@settings(deadline=None)  # Arrow's reader loads pandas with its first table
@given(st.lists(batches(), max_size=3))
def test_what_is_written_comes_back(groups: list[pa.RecordBatch]) -> None:
    data = written(SCHEMA, *groups)
    found = read(data)
    found.validate(full=True)
    assert found.equals(by_arrow(SCHEMA, *groups))
    assert found.schema.equals(SCHEMA, check_metadata=True)
    rows = [batch.num_rows for batch in groups if batch.num_rows]
    with pq.ParquetFile(io.BytesIO(data)) as file:
        assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == rows


@pytest.mark.parametrize("different", [255, 256, 257, 65_535, 65_536, 65_537])
def test_numbers_of_every_width(different: int) -> None:
    rng = np.random.Generator(np.random.PCG64(different))
    values = np.concatenate((np.arange(different), rng.integers(0, different, 1000))).astype(np.int32) * 3 - 100
    rng.shuffle(values)
    wide = pa.ListArray.from_arrays(pa.array([0, 5, 5, len(values)], pa.int32()), pa.array(values), type=SCHEMA[0].type)
    data = written(SCHEMA, pa.RecordBatch.from_arrays([wide, wide.cast(SCHEMA[0].type)], schema=_two_wide()))
    found = read(data)
    assert found.column(0).combine_chunks().flatten().to_numpy().tolist() == values.tolist()
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    assert ("RLE_DICTIONARY" in column.encodings) is (different <= 65_536)


def _two_wide() -> pa.Schema:
    return pa.schema([field("wide", pa.int32()), field("other", pa.int32())])


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 400).flatmap(lambda most: st.lists(st.integers(0, most), min_size=1, max_size=60)),
    st.sampled_from([-100, 0, 5, 401]),
    st.randoms(),
    st.booleans(),
)
def test_labels_are_numbered_by_the_ids_beside_them(ids: list[int], filler: int, chance: Any, odd: bool) -> None:
    labels = [number if chance.random() < 0.5 else filler for number in ids]
    if odd:
        labels[chance.randrange(len(labels))] = 402
    kind = pa.list_(pa.field("element", pa.int32(), nullable=False))
    schema = pa.schema([field("input_ids", pa.int32()), field("labels", pa.int32())])
    batch = pa.RecordBatch.from_arrays([pa.array([rows], kind) for rows in (ids, labels)], schema=schema)
    assert read(written(schema, batch)).to_pydict() == {"input_ids": [ids], "labels": [labels]}


@pytest.mark.parametrize("different", [255, 256, 257, (1 << 16) - 1, 1 << 16])
def test_a_filler_is_one_number_more(different: int) -> None:
    ids = np.arange(different, dtype=np.int32)
    labels = np.where(ids % 3 == 0, np.int32(-100), ids)
    numbers = numbers_of(ids)
    assert numbers is not None
    beside = numbers_beside(labels, ids, numbers)
    assert (beside is None) == (different == 1 << 16)
    assert beside is None or beside.dictionary[beside.of].tolist() == labels.tolist()


def test_a_part_of_a_batch() -> None:
    whole = batch_of([[1], [2, 3], [], [4, 5, 6], [7]], [[1], [0, 1], [], [1, 1, 1], [0]])
    assert read(written(SCHEMA, whole.slice(1, 3))).to_pylist() == whole.slice(1, 3).to_pylist()
    assert read(written(SCHEMA, whole.slice(4), whole.slice(0, 0))).to_pylist() == whole.slice(4).to_pylist()


def test_the_footer_is_what_the_file_is() -> None:
    data = written(SCHEMA, batch_of([[5, 6] * 50], [[1] * 100]), batch_of([[9]], [[0]]))
    with pq.ParquetFile(io.BytesIO(data)) as file:
        metadata = file.metadata
        assert (metadata.num_rows, metadata.num_row_groups, metadata.created_by) == (2, 2, "tests version 1")
        at = 4
        for index in range(2):
            group = metadata.row_group(index)
            for number in range(2):
                column = group.column(number)
                assert column.dictionary_page_offset == at
                assert at < column.data_page_offset < at + column.total_compressed_size
                assert (column.compression, column.physical_type) == ("ZSTD", "INT32")
                at += column.total_compressed_size
            sizes = [group.column(number).total_uncompressed_size for number in range(2)]
            assert group.total_byte_size == sum(sizes)
        assert [metadata.row_group(0).column(number).num_values for number in range(2)] == [100, 100]
    assert data[at:].endswith(b"PAR1")
    assert written(SCHEMA, batch_of([[5, 6] * 50], [[1] * 100]), batch_of([[9]], [[0]])) == data


@pytest.mark.parametrize("place", range(8))
def test_every_page_has_a_checksum(place: int) -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    wide = rng.integers(0, 5000, (40, 50)).tolist()
    data = bytearray(written(SCHEMA, batch_of(wide, [[0, 1] * 25] * 40)))
    with pq.ParquetFile(io.BytesIO(bytes(data))) as file:
        columns = [file.metadata.row_group(0).column(number) for number in range(2)]
    # The last bytes of each page, and those before: whatever bit flips there is noticed.
    column = columns[place % 2]
    end = column.dictionary_page_offset + column.total_compressed_size if place // 2 % 2 else column.data_page_offset
    data[end - 1 - place // 4 * 3] ^= 1 << place
    with pytest.raises(OSError, match="CRC"):
        read(bytes(data))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (training_schema(), True),
        (training_schema(("labels",)), True),
        *((packed_schema(layout, {}), True) for layout in LAYOUTS.values()),
        (PROVENANCE_SCHEMA, False),
        (PACKED_PROVENANCE, False),
        (pa.schema([]), False),
        (pa.schema([field("a", pa.int64())]), False),
        (pa.schema([field("a", pa.int32(), nullable=True)]), False),
        (pa.schema([pa.field("a", pa.list_(pa.field("element", pa.int32(), nullable=False)))]), False),
        (pa.schema([pa.field("a", pa.large_list(pa.int32()), nullable=False)]), False),
    ],
)
def test_which_schemas_it_is_for(schema: pa.Schema, expected: Any) -> None:
    assert is_of_tokens(schema) is expected
