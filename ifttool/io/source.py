"""Rows of input files: streamed in constant memory, each with its exact place and bytes."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from stat import S_ISREG
from typing import BinaryIO

import msgspec
import numpy as np

from ifttool.errors import InputChanged, RowError, RunError, UsageError
from ifttool.io.compression import CHUNK, DamagedStreamError, Reader, decompress, detect_compression
from ifttool.io.inputs import (
    HEAD_BYTES,
    STDIN,
    check_text,
    detect_kind,
    expand_inputs,
    open_input,
    printable,
    probe,
)
from ifttool.io.json_structure import KeyCounter
from ifttool.records import Place, RawRow
from ifttool.words import counted

__all__ = [
    "MAX_LINE_BYTES",
    "ByteRange",
    "SkippedLine",
    "expand_inputs",
    "probe",
    "read_rows",
    "split_ranges",
]

MAX_LINE_BYTES = 16 << 20
# Line ends are counted in pieces whose arrays the allocator keeps: pages of larger ones are new each time, which takes
# longer than counting.
_COUNTED_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"


class SkippedLine(msgspec.Struct, frozen=True, gc=False):
    """A line that gives no row, so that ``lines = rows + rejects + blanks`` adds up.

    ``error`` is None for a blank line. A line over the limit carries ``IFT106``; its bytes weren't
    kept, but ``place`` says where they are.
    """

    place: Place
    error: RowError | None = None


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a plain file that starts and ends at line ends: a unit of work.

    Attributes:
        start: Offset of the first byte.
        stop: Offset behind the last byte.
        first_line: 1-based number of the line at ``start``.
    """

    start: int
    stop: int
    first_line: int


def read_rows(
    source: str,
    *,
    stdin: BinaryIO | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    byte_range: ByteRange | None = None,
) -> Iterator[RawRow | SkippedLine]:
    """Stream the rows of a JSONL or Parquet file, or of standard input.

    Lines end at ``\\n`` only. One ``\\r`` before it and a UTF-8 byte order mark at the start of any
    line (``cat a b`` leaves them inside) are stripped; offsets and lengths don't count them.
    Compression (gzip, zstd, xz; any number of members or frames) is detected by magic bytes.
    Nothing is opened before the first row is asked for.

    Args:
        source: A path, or ``-`` for standard input.
        stdin: What ``-`` reads; ``sys.stdin.buffer`` by default.
        max_line_bytes: Longer lines are skipped with ``IFT106``; memory stays near this figure.
        byte_range: Read this part of a plain file only (see ``split_ranges``).

    Yields:
        ``RawRow`` for a row, ``SkippedLine`` for a blank or over-long line, in file order.

    Raises:
        UsageError: The file can't be opened, isn't UTF-8 text, or is compressed twice.
        InputChanged: A compressed stream ends early or is damaged, or the file changed while it
            was read. All rows before that place were yielded.
    """
    stream = stdin if source == STDIN and stdin is not None else open_input(source)
    try:
        reader = _Replay(stream, source)
        kind = detect_kind(reader.peek(HEAD_BYTES), source)
        if byte_range is not None and kind != "plain":
            raise UsageError(f"{printable(source)} is {kind}: only plain files have byte ranges")
        if kind == "parquet":
            yield from _parquet(source)
        elif kind == "plain":
            yield from _plain(reader, source, max_line_bytes=max_line_bytes, byte_range=byte_range)
        else:
            chunks = _decompressed(reader, kind, source)
            yield from _lines(chunks, source, max_line_bytes=max_line_bytes)
    finally:
        if source != STDIN:
            stream.close()


def split_ranges(source: str, target_bytes: Callable[[int], int | None]) -> Iterator[ByteRange]:
    """Cut a plain file at line ends into ranges of about ``target_bytes``.

    The cuts depend on the file and ``target_bytes`` alone, never on the number of workers. Reads
    the file as far as it is asked, to count lines (about 4.7 GB/s from the page cache).

    Args:
        source: A path of kind ``plain``.
        target_bytes: Given where a range begins, its size: it ends with the first line that reaches that. None for a
            range that goes to the end of the file.

    Yields:
        Ranges that cover the file without gaps; none for an empty file.
    """
    start, line, offset, next_line = 0, 1, 0, 1
    target = target_bytes(start)
    with open_input(source) as stream:
        while chunk := stream.read(_COUNTED_BYTES):
            base = offset
            offset += len(chunk)
            newlines = np.frombuffer(chunk, dtype=np.uint8) == ord("\n")
            while target is not None and (cut := chunk.find(b"\n", max(0, start + target - 1 - base))) >= 0:
                cut += 1
                before = next_line + int(np.count_nonzero(newlines[:cut]))
                yield ByteRange(start=start, stop=base + cut, first_line=line)
                start, line = base + cut, before
                target = target_bytes(start)
            next_line += int(np.count_nonzero(newlines))
    if start < offset:
        yield ByteRange(start=start, stop=offset, first_line=line)


class _Replay:
    """A reader that can look ahead on streams that can't seek, and whose reads are never short."""

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self.stream = stream
        self._source = source
        self._head = b""
        # A terminal that is read again behind its end asks for more, and wants another Ctrl-D.
        self._is_terminal = source == STDIN and stream.isatty()
        self._has_ended = False

    def peek(self, size: int) -> bytes:
        self._head = self.read(size)
        return self._head

    def read(self, size: int, /) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        if len(head) == size:
            return head
        data = self._read_some(size - len(head))
        if not head and (len(data) == size or not data):
            return data
        parts = [head, data]
        got = len(head) + len(data)
        while data and got < size:
            data = self._read_some(size - got)
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def _read_some(self, size: int) -> bytes:
        if self._has_ended:
            return b""
        try:
            data = self.stream.read(size) or b""
            self._has_ended = self._is_terminal and len(data) < size
            return data
        except OSError as error:
            raise RunError(f"can't read {printable(self._source)}: {error.strerror}") from None


def _plain(
    reader: _Replay, source: str, *, max_line_bytes: int, byte_range: ByteRange | None
) -> Iterator[RawRow | SkippedLine]:
    if source == STDIN:
        yield from _lines(_chunks(reader), source, max_line_bytes=max_line_bytes)
        return
    descriptor = reader.stream.fileno()
    before = os.fstat(descriptor)
    if byte_range is None:
        yield from _lines(_chunks(reader), source, max_line_bytes=max_line_bytes)
    else:
        reader.peek(0)
        reader.stream.seek(byte_range.start)
        chunks = _limited(reader, byte_range.stop - byte_range.start, source)
        yield from _lines(
            chunks,
            source,
            max_line_bytes=max_line_bytes,
            start=byte_range.start,
            line=byte_range.first_line,
        )
    after = os.fstat(descriptor)
    # A named pipe has another time with every write.
    if S_ISREG(before.st_mode) and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputChanged(f"{printable(source)} changed while it was read")


def _chunks(reader: Reader) -> Iterator[bytes]:
    while chunk := reader.read(CHUNK):
        yield chunk


def _limited(reader: Reader, size: int, source: str) -> Iterator[bytes]:
    while size:
        chunk = reader.read(min(size, CHUNK))
        if not chunk:
            raise InputChanged(f"{printable(source)} became shorter since the run was planned")
        size -= len(chunk)
        yield chunk


def _decompressed(reader: Reader, kind: str, source: str) -> Iterator[bytes]:
    head = b""
    for chunk in decompress(reader, kind):
        if len(head) < HEAD_BYTES:
            head += chunk[:HEAD_BYTES]
            if inner := detect_compression(head):
                raise UsageError(f"{printable(source)} is {inner} inside {kind}: compressed twice")
            check_text(head, source)
        yield chunk


def _parquet(source: str) -> Iterator[RawRow]:
    if source == STDIN:
        raise UsageError("Parquet can't be read from standard input", hint="give the file's path")
    from ifttool.io.parquet_rows import read_parquet  # noqa: PLC0415 - pyarrow costs 100 ms

    yield from read_parquet(source)


def _lines(
    chunks: Iterator[bytes], source: str, *, max_line_bytes: int, start: int = 0, line: int = 1
) -> Iterator[RawRow | SkippedLine]:
    """Cut chunks into lines; ``start`` and ``line`` are the place of the first one."""
    rows = 0
    pending: list[bytes] = []  # the parts of a line that spans chunks
    held = 0
    dropped = 0  # bytes of an over-long line that weren't kept
    last_byte = b""
    counter = KeyCounter()
    try:
        for chunk in chunks:
            pieces = chunk.split(b"\n")
            counts, heads = counter.count(chunk)
            keys: list[int | None] = [*counts]
            tail = pieces.pop()
            if pieces and (held or dropped):
                if dropped:
                    last_byte = pieces[0][-1:] or last_byte
                    size = dropped + len(pieces[0])
                    yield _too_long(source, line, start, size - (last_byte == b"\r"), limit=max_line_bytes)
                    start += size + 1
                    line += 1
                    del pieces[0], keys[0], heads[0]
                else:
                    pending.append(pieces[0])
                    pieces[0], keys[0] = b"".join(pending), None
                pending, held, dropped = [], 0, 0
            for data, most_keys, role_heads in zip(pieces, keys, heads, strict=True):
                item = _row(data, Place(source, line, start, len(data)), most_keys, role_heads, max_line_bytes)
                rows += type(item) is RawRow
                yield item
                start += len(data) + 1
                line += 1
            if not tail:
                continue
            held += len(tail)
            # One byte of grace for the \r that isn't counted.
            if dropped or held > max_line_bytes + 1 + len(_BOM):
                dropped, last_byte = dropped + held, tail[-1:]
                pending, held = [], 0
            else:
                pending.append(tail)
    except DamagedStreamError as error:
        raise InputChanged(
            f"{printable(source)}: {error}, after {counted(rows, 'complete row')} (line {line - 1})",
            hint="get the file again; what was read before is whole",
        ) from None
    if dropped:
        yield _too_long(source, line, start, dropped - (last_byte == b"\r"), limit=max_line_bytes)
    elif held:
        data = b"".join(pending)
        item = _row(data, Place(source, line, start, len(data)), None, 0, max_line_bytes)
        yield RawRow(item.place, item.data, False) if type(item) is RawRow else item


_OPENS, _CLOSES = b"{}"


def _row(
    data: bytes, place: Place, most_keys: int | None, role_heads: int, max_line_bytes: int
) -> RawRow | SkippedLine:
    """The row on a line that stands at a place, line end and byte order mark taken off."""
    if data:
        if data[0] == _OPENS and data[-1] == _CLOSES and len(data) <= max_line_bytes:  # nearly every line
            return RawRow(place, data, True, most_keys, role_heads)
        start = place.byte_start
        if data[-1] == 13:
            data = data[:-1]
        # Indexing is cheaper than startswith, and this runs for every line.
        if data and data[0] == 0xEF and data.startswith(_BOM):
            data = data[3:]
            start += 3
        place = Place(place.source, place.line, start, len(data))
    if len(data) > max_line_bytes:
        return _too_long(place.source, place.line, place.byte_start, len(data), limit=max_line_bytes)
    if not data or data.isspace():
        return SkippedLine(place)
    return RawRow(place, data, True, most_keys, role_heads)


def _too_long(source: str, line: int, start: int, size: int, *, limit: int) -> SkippedLine:
    error = RowError(
        "IFT106",
        f"the line has {size:,} bytes; the limit is {limit:,}",
        hint="leave the row out, or make several shorter ones of it",
    )
    return SkippedLine(Place(source, line, start, size), error)
