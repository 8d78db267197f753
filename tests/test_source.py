"""The reader: exact bytes and places of every line, whatever the compression; damage is noticed."""

import gzip
import io
import json
import lzma
import os
import re
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers import ROOT
from ifttool.errors import InputChanged, RowError, RunError, UsageError
from ifttool.formats import FORMATS
from ifttool.io.json_structure import MAX_DEPTH
from ifttool.io.jsonl import decode_row
from ifttool.io.source import (
    MAX_LINE_BYTES,
    ByteRange,
    SkippedLine,
    expand_inputs,
    probe,
    read_rows,
    split_ranges,
)
from ifttool.records import Place, RawRow

ROW = b'{"a":"b"}'
BOM = b"\xef\xbb\xbf"


def zstd(data: bytes, *, checksum: bool = False) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum).compress(data)


def zstd_streamed(data: bytes) -> bytes:
    """A frame without its size in the header and with many blocks."""
    writer = zstandard.ZstdCompressor().compressobj()
    parts = [writer.compress(data[i : i + 50_000]) + writer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
             for i in range(0, len(data), 50_000)]  # fmt: skip
    return b"".join(parts) + writer.flush()


PACK = {"plain": bytes, "gz": gzip.compress, "zst": zstd, "zst-stream": zstd_streamed, "xz": lzma.compress}
packings = pytest.mark.parametrize("packing", PACK)


def write(folder: Path, data: bytes, name: str = "in.jsonl") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def rows_of(source: str, **options: object) -> list[RawRow | SkippedLine]:
    return list(read_rows(source, **options))  # type: ignore[arg-type]


def shape(source: str, **options: object) -> list[tuple[int, bytes | str | None]]:
    """Line numbers with the data, the error code, or None for a blank line."""
    result: list[tuple[int, bytes | str | None]] = []
    for item in rows_of(source, **options):
        if isinstance(item, RawRow):
            result.append((item.place.line, item.data))
        else:
            result.append((item.place.line, item.error.code if item.error else None))
    return result


# --- lines -----------------------------------------------------------------------------------


@packings
def test_lines_end_at_newline_bytes_only(tmp_path: Path, packing: str) -> None:
    odd = '{"a":"\u2028 \u2029 \u0085 \\u000b"}'.encode()
    source = write(tmp_path, PACK[packing](odd + b"\n\n" + ROW + b"\r\n \t\r\n" + b'{"a":\r1}' + b"\n"))
    assert shape(source) == [(1, odd), (2, None), (3, ROW), (4, None), (5, b'{"a":\r1}')]


@packings
@pytest.mark.parametrize("end", [b"\n", b""])
def test_last_line_knows_whether_it_ended(tmp_path: Path, packing: str, end: bytes) -> None:
    source = write(tmp_path, PACK[packing](ROW + b"\n" + ROW + end))
    first, last = rows_of(source)
    assert isinstance(first, RawRow)
    assert isinstance(last, RawRow)
    assert (first.terminated, last.terminated) == (True, end == b"\n")
    assert isinstance(last, RawRow)
    assert (last.place, last.data) == (Place(source, 2, len(ROW) + 1, len(ROW)), ROW)
    assert last.terminated == (end == b"\n")


@pytest.mark.parametrize("at", [1, 3, 5])
@packings
def test_byte_order_marks_are_stripped_at_any_line(tmp_path: Path, packing: str, at: int) -> None:
    lines = [ROW] * 5
    lines[at - 1] = BOM + ROW
    data = b"\n".join(lines)
    source = write(tmp_path, PACK[packing](data))
    rows = rows_of(source)
    assert [row.data for row in rows if isinstance(row, RawRow)] == [ROW] * 5
    place = rows[at - 1].place
    assert data[place.byte_start :][: place.byte_len] == ROW


@packings
@pytest.mark.parametrize("data", [b"", b"\n", b"\n \r\n\r\n\t\n", BOM, BOM + b"\r\n"])
def test_files_without_rows(tmp_path: Path, packing: str, data: bytes) -> None:
    items = rows_of(write(tmp_path, PACK[packing](data)))
    assert len(items) == data.count(b"\n") + (data == BOM)
    assert all(isinstance(item, SkippedLine) and item.error is None for item in items)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("packing", ["plain", "gz", "zst"])
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a":"\xff"}', "IFT101"),
        (b'{"a":"\xc0\x80"}', "IFT101"),
        (b'{"a":"\xed\xa0\x80"}', "IFT101"),
        (rb'{"a":"\ud800"}', "IFT107"),
        (b'{"a":"\x00"}', "IFT102"),
        (b'{"a":"b","a":"c"}', "IFT103"),
        (b'{"a":NaN}', "IFT110"),
        (b'{"a":01}', "IFT102"),
        (b"null", "IFT104"),
        (b"{}{}", "IFT108"),
        (b'{"a":"b', "IFT102"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "IFT105"),
    ],
)
def test_one_bad_line_never_costs_another(tmp_path: Path, packing: str, at: int, line: bytes, code: str) -> None:
    lines = [ROW] * 3
    lines[at - 1] = line
    source = write(tmp_path, PACK[packing](b"\n".join(lines) + b"\n"))
    outcome = []
    for item in read_rows(source):
        assert isinstance(item, RawRow)
        try:
            outcome.append((item.place.line, decode_row(item.data, terminated=item.terminated)))
        except RowError as error:
            outcome.append((item.place.line, error.code))
    assert outcome == [(n, code if n == at else {"a": "b"}) for n in (1, 2, 3)]


@pytest.mark.parametrize("packing", ["plain", "gz", "zst", "xz"])
def test_characters_across_read_buffers(tmp_path: Path, packing: str) -> None:
    text = "日本語𝒳é" * 200_000  # 13 bytes a repeat: some character straddles every buffer edge
    row = json.dumps({"a": text}, ensure_ascii=False).encode()
    source = write(tmp_path, PACK[packing](ROW + b"\n" + row + b"\n" + ROW))
    assert shape(source) == [(1, ROW), (2, row), (3, ROW)]


# --- over-long lines -------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("packing", ["plain", "gz", "zst"])
@pytest.mark.parametrize("limit", [100, 3_000_000])
def test_line_limit_is_exact(tmp_path: Path, packing: str, limit: int, end: bytes) -> None:
    lines = [b"x" * (limit - 1), b"x" * limit, b"x" * (limit + 1), b"x" * (limit + 5_000_000), b"y"]
    data = b"".join(line + end for line in lines)
    items = rows_of(write(tmp_path, PACK[packing](data)), max_line_bytes=limit)
    codes = [item.error.code if isinstance(item, SkippedLine) and item.error else None for item in items]
    assert codes == [None, None, "IFT106", "IFT106", None]
    for item, line in zip(items, lines, strict=True):
        assert data[item.place.byte_start :][: item.place.byte_len] == line
    assert [item.place.line for item in items] == [1, 2, 3, 4, 5]


def test_limits_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    assert f"{MAX_LINE_BYTES >> 20} MiB ({MAX_LINE_BYTES:,} bytes)" in page
    assert f"at most {MAX_DEPTH} levels" in page
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == [*FORMATS]


def test_over_long_last_line_without_end(tmp_path: Path) -> None:
    source = write(tmp_path, b"a\n" + b"x" * 5_000_000)
    assert shape(source, max_line_bytes=10) == [(1, b"a"), (2, "IFT106")]
    (_, skipped) = rows_of(source, max_line_bytes=10)
    assert isinstance(skipped, SkippedLine)
    assert skipped.error is not None
    assert skipped.error.message == "the line has 5,000,000 bytes; the limit is 10"
    assert "--" not in skipped.error.hint, "no option raises the limit"


@pytest.mark.parametrize("packing", ["gz", "zst", "xz"])
def test_bomb_is_read_in_bounded_memory(tmp_path: Path, packing: str) -> None:
    import tracemalloc  # noqa: PLC0415

    source = write(tmp_path, PACK[packing](b"x" * (32 << 20) + b"\n" + ROW))
    tracemalloc.start()
    try:
        assert shape(source, max_line_bytes=1 << 20) == [(1, "IFT106"), (2, ROW)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


# --- compression -----------------------------------------------------------------------------


def test_many_members_and_frames(tmp_path: Path) -> None:
    skippable = b"\x53\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"ignored"
    halves = (ROW + b"\n" + ROW[:4], ROW[4:] + b"\n")
    expected = [(1, ROW), (2, ROW)]
    for packing in ("gz", "zst", "zst-stream", "xz"):
        data = b"".join(map(PACK[packing], halves))
        assert shape(write(tmp_path, data)) == expected
    frames = skippable + zstd(halves[0]) + skippable + zstd(halves[1], checksum=True) + skippable
    assert shape(write(tmp_path, frames)) == expected
    padded = gzip.compress(halves[0]) + b"\0" * 9 + gzip.compress(halves[1]) + b"\0" * 512
    assert shape(write(tmp_path, padded)) == expected


@pytest.mark.parametrize("packing", ["gz", "zst", "zst-stream", "xz"])
def test_cut_stream_is_an_error_that_names_file_and_rows(tmp_path: Path, packing: str) -> None:
    data = b"".join(b'{"a":"%d %s"}\n' % (i, os.urandom(40).hex().encode()) for i in range(8_000))
    whole = PACK[packing](data)
    for kept in (len(whole) - 1, len(whole) * 9 // 10, len(whole) // 3, 7):
        source = write(tmp_path, whole[:kept])
        rows = []
        with pytest.raises(InputChanged) as caught:
            rows.extend(read_rows(source))
        assert source in caught.value.message
        assert f"after {len(rows):,} complete rows (line" in caught.value.message
        assert all(isinstance(row, RawRow) and row.terminated for row in rows)


def test_a_stream_that_is_cut_behind_its_first_row(tmp_path: Path) -> None:
    source = write(tmp_path, zstd(ROW + b"\n") + zstd(ROW + b"\n")[:-1])
    with pytest.raises(InputChanged, match=r"after 1 complete row \(line 1\)"):
        list(read_rows(source))


def test_every_cut_of_a_small_stream_is_noticed(tmp_path: Path) -> None:
    for packing in ("gz", "zst", "zst-stream", "xz"):
        whole = PACK[packing]((ROW + b"\n") * 30)
        for kept in range(6, len(whole)):
            with pytest.raises(InputChanged):
                rows_of(write(tmp_path, whole[:kept]))


@pytest.mark.parametrize("packing", ["gz", "xz", "zst-checksum"])
def test_flipped_byte_is_noticed(tmp_path: Path, packing: str) -> None:
    data = b"".join(b'{"a":%d}\n' % i for i in range(5_000))
    whole = bytearray(zstd(data, checksum=True) if packing == "zst-checksum" else PACK[packing](data))
    whole[len(whole) // 2] ^= 0x10
    with pytest.raises(InputChanged):
        rows_of(write(tmp_path, bytes(whole)))


@pytest.mark.parametrize("packing", ["gz", "zst", "xz"])
def test_other_bytes_after_the_end_are_noticed(tmp_path: Path, packing: str) -> None:
    source = write(tmp_path, PACK[packing](ROW + b"\n") + b"garbage")
    read = []
    with pytest.raises(InputChanged, match="other bytes after the end"):
        read.extend(read_rows(source))
    assert len(read) == 1


def test_large_zstd_window_is_refused(tmp_path: Path) -> None:
    header = zstandard.MAGIC_NUMBER.to_bytes(4, "little") + bytes((0x00, (31 - 10) << 3))
    with pytest.raises(UsageError, match="window of 2048 MiB is too large"):
        rows_of(write(tmp_path, header + b"\1\0\0"))


def test_compressed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gz inside zst"):
        rows_of(write(tmp_path, zstd(gzip.compress(ROW))))


@pytest.mark.parametrize(("name", "packing"), [("x.jsonl", "gz"), ("x.gz", "plain"), ("x.zst", "xz")])
def test_the_name_is_not_trusted(tmp_path: Path, name: str, packing: str) -> None:
    source = write(tmp_path, PACK[packing](ROW), name)
    assert shape(source) == [(1, ROW)]
    assert probe(source) == packing


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("packing", ["plain", "gz"])
def test_wide_text_is_refused(tmp_path: Path, encoding: str, packing: str) -> None:
    source = write(tmp_path, PACK[packing]('{"a":"b"}\n'.encode(encoding)))
    with pytest.raises(UsageError, match=f"looks like {encoding[:6].upper()}"):
        rows_of(source)


# --- standard input and files that change ----------------------------------------------------


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 5) if size >= 0 else -1)


@packings
def test_standard_input(packing: str) -> None:
    stdin = Dribble(PACK[packing](ROW + b"\n" + ROW))
    rows = list(read_rows("-", stdin=stdin))  # type: ignore[arg-type]
    assert [(str(row.place), row.place.byte_start) for row in rows] == [("-:1", 0), ("-:2", 10)]
    assert not stdin.closed


def test_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    source = write(tmp_path, (ROW + b"\n") * 3)
    rows = read_rows(source)
    next(rows)
    with Path(source).open("ab") as file:
        file.write(b"more\n")
    with pytest.raises(InputChanged, match="changed while it was read"):
        list(rows)


def test_a_named_pipe_that_is_written_to_more_than_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def fill() -> None:
        with pipe.open("wb", buffering=0) as file:
            for _ in range(3):
                file.write(ROW + b"\n")
                time.sleep(0.05)

    writer = threading.Thread(target=fill)
    writer.start()
    assert len(rows_of(str(pipe))) == 3
    writer.join()


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't read"):
        rows_of(str(tmp_path / "gone.jsonl"))

    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(RunError, match="can't read -: Input/output error"):
        list(read_rows("-", stdin=Broken()))  # type: ignore[arg-type]


# --- byte ranges -----------------------------------------------------------------------------


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=40),
    target=st.integers(1, 120),
    end=st.sampled_from([b"", b"\n"]),
    most=st.integers(0, 120),
)
@example(lines=[b":"], target=1, end=b"", most=120)  # fewer characters than stand before the colon after a key
@settings(max_examples=60, deadline=None)
def test_ranges_together_give_the_whole_file(lines: list[bytes], target: int, end: bytes, most: int) -> None:
    data = b"{}\n" + b"\n".join(lines) + end
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder), data)
        ranges = list(split_ranges(source, lambda start: target if start <= most else None))
        assert all(r.start <= most for r in ranges[:-1])
        assert [r.start for r in ranges] == [0] + [r.stop for r in ranges[:-1]]
        assert ranges[-1].stop == len(data)
        assert all(data[r.stop - 1 : r.stop] == b"\n" for r in ranges[:-1])
        assert all(r.stop - r.start >= target for r in ranges[:-1])
        parts = [item for r in ranges for item in read_rows(source, byte_range=r)]
        assert [bare(part) for part in parts] == [bare(row) for row in rows_of(source)]


def bare(item: RawRow | SkippedLine) -> object:
    """An item without what its reader counted, which depends on where chunks end."""
    return (item.place, item.data, item.terminated) if isinstance(item, RawRow) else item


def test_ranges_over_many_chunks(tmp_path: Path) -> None:
    source = write(tmp_path, b"".join(b'{"a":%d}\n' % i for i in range(150_000)))
    ranges = list(split_ranges(source, lambda _: 300_001))
    parts = [item for r in ranges for item in read_rows(source, byte_range=r)]
    assert len(ranges) == 7
    assert [bare(part) for part in parts] == [bare(row) for row in rows_of(source)]


def test_range_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only plain files"):
        rows_of(write(tmp_path, gzip.compress(ROW)), byte_range=ByteRange(0, 5, 1))
    with pytest.raises(InputChanged, match="became shorter"):
        rows_of(write(tmp_path, ROW), byte_range=ByteRange(0, 500, 1))
    assert list(split_ranges(write(tmp_path, b""), lambda _: 10)) == []


# --- the property behind it all --------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    lines=st.lists(
        st.tuples(
            st.one_of(st.none(), st.dictionaries(st.text(max_size=8), json_values, max_size=4)),
            st.sampled_from([b"\n", b"\r\n"]),
            st.booleans(),
        ),
        max_size=12,
    ),
    packing=st.sampled_from(sorted(PACK)),
)
@settings(max_examples=80, deadline=None)
def test_any_objects_come_back_with_their_places(
    lines: list[tuple[dict[str, object] | None, bytes, bool]], packing: str
) -> None:
    data = b""
    expected = []
    for number, (value, end, ascii_only) in enumerate(lines, 1):
        text = b"  " if value is None else json.dumps(value, ensure_ascii=ascii_only).encode()
        expected.append((number, value, text))
        data += text + end
    with tempfile.TemporaryDirectory() as folder:
        items = rows_of(write(Path(folder), PACK[packing](data)))
    for item, (number, value, text) in zip(items, expected, strict=True):
        place = item.place
        assert place.line == number
        assert data[place.byte_start : place.byte_start + place.byte_len] == text
        if value is None:
            assert isinstance(item, SkippedLine)
        else:
            assert isinstance(item, RawRow)
            assert item.data == text
            assert decode_row(item.data) == value


# --- Parquet ---------------------------------------------------------------------------------


def test_parquet_rows(tmp_path: Path) -> None:
    messages = [
        [{"role": "user", "content": "Hi", "name": None}, {"role": "assistant", "content": None, "name": "x"}],
        [{"role": "user", "content": "日本", "name": None}],
    ]
    table = pa.table(
        {
            "messages": messages,
            "id": pa.array([2**63 - 1, None], pa.int64()),
            "tools": pa.array(["[]", None]),
            "tags": [["a", None], []],
            "image": pa.array([b"\xff", b"\x00"]),
            "images": [[{"bytes": b"\xff"}], []],
        }
    )
    source = str(tmp_path / "in.parquet")
    pq.write_table(table, source, row_group_size=1)
    rows = rows_of(source)
    assert [row.place for row in rows] == [
        Place(source, n, -1, len(row.data)) for n, row in enumerate(rows, 1) if isinstance(row, RawRow)
    ]
    assert [decode_row(row.data) for row in rows if isinstance(row, RawRow)] == [
        {
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "name": "x"}],
            "id": 2**63 - 1,
            "tools": "[]",
            "tags": ["a", None],
        },
        {"messages": [{"role": "user", "content": "日本"}], "tags": []},
    ]
    assert probe(source) == "parquet"


def test_parquet_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    whole = path.read_bytes()
    with pytest.raises(InputChanged, match="damaged after row 0"):
        rows_of(write(tmp_path, whole[:-5]))
    with pytest.raises(UsageError, match="standard input"):
        list(read_rows("-", stdin=io.BytesIO(whole)))
    pq.write_table(pa.table({"a": [b"\xff"]}), path)
    with pytest.raises(UsageError, match="no text columns"):
        rows_of(str(path))


# --- names -----------------------------------------------------------------------------------


def test_patterns_expand_in_a_stable_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jsonl", "a.jsonl", "sub/d.jsonl", "sub/deep/c.jsonl", "odd[1].jsonl", ".x.jsonl"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("dir.jsonl").mkdir()
    assert expand_inputs(["sub/d.jsonl", "?.jsonl", "-"]) == ["sub/d.jsonl", "a.jsonl", "b.jsonl", "-"]
    assert expand_inputs(["sub/**/*.jsonl"]) == ["sub/d.jsonl", "sub/deep/c.jsonl"]
    assert expand_inputs(["odd[1].jsonl"]) == ["odd[1].jsonl"]
    assert expand_inputs(["*.jsonl"]) == ["a.jsonl", "b.jsonl", "odd[1].jsonl"]


def test_patterns_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").touch()
    Path("link.jsonl").symlink_to("a.jsonl")
    Path("dir").mkdir()
    Path("leads.nowhere").symlink_to("gone")
    Path("not\udcff.utf8").touch()
    for patterns, message in (
        (["*.gz"], "no file matches"),
        (["gone.jsonl"], "there is no file"),
        (["dir"], "is a directory"),
        (["a.jsonl", "./a.jsonl"], "same input"),
        (["a.jsonl", "?.jsonl"], "same input"),
        (["*.jsonl"], "same input"),
        (["-", "-"], "same input"),
        (["*.nowhere"], "can't read leads.nowhere: No such file"),
        (["*.utf8"], r"the name not\\udcff.utf8 isn't UTF-8"),
    ):
        with pytest.raises(UsageError, match=message):
            expand_inputs(patterns)


def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    name = str(tmp_path / "a\nb\udcff")
    with pytest.raises(UsageError) as caught:
        expand_inputs([name])
    assert caught.value.message.isprintable()
    assert r"a\nb\udcff" in caught.value.message
