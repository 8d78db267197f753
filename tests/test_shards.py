"""Writing shards: row groups, digests, joining, and files that are whole or absent."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import SAMPLES, run_python
from ifttool import shards
from ifttool.io.arrow_arrays import flag_array, number_array, optional_int_array, string_array
from ifttool.layouts import COLUMNS
from ifttool.records import Place
from ifttool.samples import Origin, Samples
from ifttool.schema import PROVENANCE_SCHEMA, training_schema
from ifttool.shards import (
    ContentDigest,
    ShardWriter,
    concatenate,
    merge_parts,
    read_batches,
    read_schema,
    slice_samples,
)


def samples(*lengths: int, first: int = 0) -> Samples:
    """Samples of the given lengths; ids count up, odd positions of a row are trained."""
    ids = np.arange(first, first + sum(lengths), dtype=np.int32)
    mask = np.concatenate([np.zeros(0, np.int8), *(np.arange(length, dtype=np.int8) % 2 for length in lengths)])
    rows = np.cumsum([0, *lengths], dtype=np.int64)
    origins = [Origin(Place("x", n + 1, 0, 0), None, None, 1, "exact") for n in range(len(lengths))]
    return Samples(ids, mask.astype(np.int8), rows, origins)


def write(path: Path, *batches: Samples, provenance: Path | None = None) -> shards.ShardInfo:
    with ShardWriter(path, provenance=provenance, schema=training_schema(metadata={"a": 1})) as writer:
        for batch in batches:
            writer.add(batch)
    return writer.info()


@given(st.lists(st.integers(0, 4), max_size=8))
def test_trained_tokens_of_rows_some_of_which_are_empty(lengths: list[int]) -> None:
    assert samples(*lengths).trained_per_row().tolist() == [length // 2 for length in lengths]


def test_figures_and_columns(tmp_path: Path) -> None:
    info = write(tmp_path / "s.parquet", samples(3, 1), provenance=tmp_path / "p.parquet")
    assert (info.rows, info.tokens, info.trained_tokens, info.longest) == (2, 4, 1, 3)
    assert info.bytes == (tmp_path / "s.parquet").stat().st_size
    assert info.sha256 == hashlib.sha256((tmp_path / "s.parquet").read_bytes()).hexdigest()
    assert pq.read_table(tmp_path / "s.parquet").to_pylist() == [
        {"input_ids": [0, 1, 2], "loss_mask": [0, 1, 0], "labels": [-100, 1, -100], "attention_mask": [1, 1, 1]},
        {"input_ids": [3], "loss_mask": [0], "labels": [-100], "attention_mask": [1]},
    ]
    assert pq.read_table(tmp_path / "p.parquet").column("tokens").to_pylist() == [3, 1]
    assert pq.read_schema(tmp_path / "p.parquet").equals(PROVENANCE_SCHEMA)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_schema(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s.{suffix}"
    write(path, samples(2))
    schema = read_schema(path)
    assert schema.names == list(COLUMNS)
    kinds = {field.name: (field.type.value_type, field.nullable) for field in schema}
    assert kinds == {
        "input_ids": (pa.int32(), False),
        "loss_mask": (pa.int8(), False),
        "labels": (pa.int32(), False),
        "attention_mask": (pa.int8(), False),
    }
    assert json.loads(schema.metadata[b"ifttool"]) == {"a": 1}


def test_row_groups_are_cut_by_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_TOKENS", 10)
    write(tmp_path / "s.parquet", samples(4, 4, 4, 25, 1), samples(9, first=38), samples(first=47))
    with pq.ParquetFile(tmp_path / "s.parquet") as file:
        groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
        compression = {file.metadata.row_group(0).column(index).compression for index in range(4)}
    assert groups == [3, 1, 2]
    assert compression == {"ZSTD"}
    ids = [row["input_ids"] for row in pq.read_table(tmp_path / "s.parquet").to_pylist()]
    assert [len(row) for row in ids] == [4, 4, 4, 25, 1, 9]
    assert [token for row in ids for token in row] == list(range(47))


@given(lengths=st.lists(st.integers(0, 9), max_size=8), cuts=st.lists(st.integers(0, 8), max_size=3))
def test_content_digest_does_not_depend_on_batches(lengths: list[int], cuts: list[int]) -> None:
    whole, parts = ContentDigest(), ContentDigest()
    everything = samples(*lengths)
    whole.update(everything)
    edges = sorted({0, len(lengths), *(cut for cut in cuts if cut < len(lengths))})
    for low, high in pairwise(edges):
        parts.update(slice_samples(everything, low, high))
    assert parts.hexdigest() == whole.hexdigest()


def test_content_digest_sees_every_part() -> None:
    def digest(batch: Samples) -> str:
        content = ContentDigest()
        content.update(batch)
        return content.hexdigest()

    base = samples(2, 2)
    others = [
        samples(1, 3),
        samples(2, 2, first=1),
        Samples(base.ids, 1 - base.mask, base.rows, base.origins),
    ]
    assert len({digest(batch) for batch in [base, *others]}) == 4


@given(lengths=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4))
def test_concatenate_and_slice_are_inverse(lengths: list[list[int]]) -> None:
    parts = [samples(*rows, first=100 * index) for index, rows in enumerate(lengths)]
    joined = concatenate(parts)
    position = 0
    for part in parts:
        again = slice_samples(joined, position, position + len(part))
        position += len(part)
        assert again.ids.tolist() == part.ids.tolist()
        assert again.mask.tolist() == part.mask.tolist()
        assert again.rows.tolist() == part.rows.tolist()
        assert list(again.origins) == list(part.origins)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_joined_parts(tmp_path: Path, suffix: str) -> None:
    parts = [tmp_path / f"{name}.{suffix}" for name in "abc"]
    contents = [samples(3, 1), samples(), samples(5, first=4)]
    infos = [write(path, content) for path, content in zip(parts, contents, strict=True)]
    joined = merge_parts(parts, infos, tmp_path / f"joined.{suffix}")
    assert (joined.rows, joined.tokens, joined.trained_tokens, joined.longest) == (3, 9, 3, 5)
    at_once = write(tmp_path / f"once.{suffix}", concatenate(contents))
    assert joined.content_sha256 == at_once.content_sha256
    rows = [row for batch in read_batches(tmp_path / f"joined.{suffix}") for row in batch.to_pylist()]
    assert [row["input_ids"] for row in rows] == [[0, 1, 2], [3], [4, 5, 6, 7, 8]]
    assert read_schema(tmp_path / f"joined.{suffix}").equals(read_schema(parts[0]), check_metadata=True)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    schema = training_schema()
    with (
        pytest.raises(failure),
        ShardWriter(tmp_path / "s.parquet", provenance=tmp_path / "p.parquet", schema=schema) as writer,
    ):
        writer.add(samples(3))
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    write(path, samples(*[50] * 40))
    data = bytearray(path.read_bytes())
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(0).column(0)
        data[column.dictionary_page_offset + column.total_compressed_size - 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        list(read_batches(path))


def test_arrays_from_buffers_are_those_of_arrow() -> None:
    for texts in ([], ["a", "", "中"], [None, "x", None] * 5):
        assert string_array(texts).equals(pa.array(texts, pa.string()))
    for turns in ([], [1, 0], [None, 3, None, 0, 7, 7, 7, 7, None]):
        assert optional_int_array(turns).equals(pa.array(turns, pa.int32()))
    flags = [True, False, False] * 5
    assert flag_array(flags).equals(pa.array(flags))
    assert number_array(np.arange(9, dtype=np.int64)[::2]).equals(pa.array([0, 2, 4, 6, 8]))
    for array in (string_array(["a", None]), optional_int_array([None, 1]), flag_array(flags)):
        array.validate(full=True)


def test_writing_does_not_import_pandas(tmp_path: Path) -> None:
    code = (
        "import sys, ifttool\n"
        f"ifttool.mask({str(SAMPLES / 'chat.jsonl')!r}, 'out', workers=1)\n"
        "print('pandas' in sys.modules)"
    )
    assert run_python(code, cwd=tmp_path) == "False\n"
