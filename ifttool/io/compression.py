"""Streaming decompression that notices a stream which ends early.

Every function takes a binary reader placed at the start of the stream and yields chunks of
plain bytes of bounded size, so that a decompression bomb costs no memory.
"""

import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from ifttool.errors import UsageError

CHUNK = 1 << 20
"""Bytes read or produced at a time; larger chunks fall out of the cache and are slower."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
XZ_MAGIC = b"\xfd7zXZ\x00"

# `zstd --long=27` is the most that plain `zstd -d` reads too; a header may claim up to 3.75 TB.
MAX_ZSTD_WINDOW = 1 << 27
# `xz -9` needs 65 MiB.
_MAX_XZ_MEMORY = 1 << 29
# A zstd block holds at most 128 KiB of output (RFC 8878, 3.1.1.2.3).
_ZSTD_BLOCKS_PER_CALL = CHUNK >> 17


class Reader(Protocol):
    """A binary reader whose ``read(n)`` is short only at the end."""

    def read(self, size: int, /) -> bytes: ...


class DamagedStreamError(Exception):
    """A compressed stream that ends early or doesn't decode; the caller knows file and row."""


def detect_compression(head: bytes) -> str | None:
    """Name the compression by magic bytes (the file name isn't trusted).

    Args:
        head: The first bytes of the file, 6 or more if it has them.

    Returns:
        ``gz``, ``zst`` or ``xz``; None for anything else.
    """
    if head.startswith(GZIP_MAGIC):
        return "gz"
    if head.startswith(ZSTD_MAGIC) or _is_skippable(head[:4]):
        return "zst"
    if head.startswith(XZ_MAGIC):
        return "xz"
    return None


def decompress(reader: Reader, kind: str) -> Iterator[bytes]:
    """Yield the plain bytes of a ``gz``, ``zst`` or ``xz`` stream in chunks.

    Raises:
        DamagedStreamError: The stream ends early, fails a checksum, or is followed by other bytes.
        UsageError: A zstd frame asks for a window above 128 MiB.
    """
    return _DECOMPRESSORS[kind](reader)


def _gunzip(reader: Reader) -> Iterator[bytes]:
    pending = reader.read(CHUNK)
    while pending:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                out = member.decompress(pending, CHUNK)
            except zlib.error as error:
                raise DamagedStreamError(f"the gzip stream is damaged ({error})") from None
            if out:
                yield out
            pending = member.unconsumed_tail
            if not pending and not member.eof:
                pending = reader.read(CHUNK)
                if not pending and not out:
                    raise DamagedStreamError("the gzip stream ends early")
        pending = _next_member(member.unused_data, reader)
        if pending and not pending.startswith(GZIP_MAGIC):
            raise DamagedStreamError("there are other bytes after the end of the gzip stream")


def _unxz(reader: Reader) -> Iterator[bytes]:
    pending = reader.read(CHUNK)
    while pending:
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
        while not stream.eof:
            if stream.needs_input and not pending:
                pending = reader.read(CHUNK)
                if not pending:
                    raise DamagedStreamError("the xz stream ends early")
            try:
                out = stream.decompress(pending, CHUNK)
            except lzma.LZMAError as error:
                raise DamagedStreamError(f"the xz stream is damaged ({error})") from None
            pending = b""
            if out:
                yield out
        pending = _next_member(stream.unused_data, reader)
        if pending and not pending.startswith(XZ_MAGIC):
            raise DamagedStreamError("there are other bytes after the end of the xz stream")


def _next_member(unused: bytes, reader: Reader) -> bytes:
    """Skip the zero padding that gzip (tar) and xz allow between members; keep 6 bytes for magic."""
    while len(unused := unused.lstrip(b"\0")) < len(XZ_MAGIC):
        more = reader.read(CHUNK)
        if not more:
            break
        unused += more
    return unused


def _unzstd(reader: Reader) -> Iterator[bytes]:
    """Walk the frames block by block: RFC 8878.

    The walk is what detects a cut: python-zstandard says nothing when a frame is unfinished.
    It also bounds each call's output, which its ``decompressobj`` can't do.
    """
    while magic := reader.read(4):
        if _is_skippable(magic):
            _skip(reader, int.from_bytes(_exactly(reader, 4), "little"))
        elif magic == ZSTD_MAGIC:
            yield from _zstd_frame(reader)
        elif len(magic) < 4:
            raise DamagedStreamError("the zstd stream ends early")
        else:
            raise DamagedStreamError("there are other bytes after the end of the zstd frame")


def _zstd_frame(reader: Reader) -> Iterator[bytes]:
    descriptor = _exactly(reader, 1)
    flags = descriptor[0]
    single_segment = flags >> 5 & 1
    size_of_size = (single_segment, 2, 4, 8)[flags >> 6]
    rest = (not single_segment) + (0, 1, 2, 4)[flags & 3] + size_of_size
    header = ZSTD_MAGIC + descriptor + _exactly(reader, rest)
    _check_window(header)
    frame = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
    parts = [header]
    blocks = 0
    last = 0
    while not last:
        head = _exactly(reader, 3)
        value = int.from_bytes(head, "little")
        last = value & 1
        is_rle = value >> 1 & 3 == 1
        parts += (head, _exactly(reader, 1 if is_rle else value >> 3))
        blocks += 1
        if last and flags >> 2 & 1:
            parts.append(_exactly(reader, 4))
        if last or blocks == _ZSTD_BLOCKS_PER_CALL:
            try:
                out = frame.decompress(b"".join(parts))
            except zstandard.ZstdError as error:
                raise DamagedStreamError(f"the zstd stream is damaged ({error})") from None
            if out:
                yield out
            parts.clear()
            blocks = 0


def _check_window(header: bytes) -> None:
    try:
        window = zstandard.get_frame_parameters(header).window_size
    except zstandard.ZstdError as error:
        raise DamagedStreamError(f"the zstd stream is damaged ({error})") from None
    if window > MAX_ZSTD_WINDOW:
        raise UsageError(
            f"the zstd window of {window >> 20} MiB is too large (limit {MAX_ZSTD_WINDOW >> 20} MiB)",
            hint="compress the file again without --long, or with --long=27 at most",
        )


def _is_skippable(magic: bytes) -> bool:
    return len(magic) == 4 and magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50


def _exactly(reader: Reader, size: int) -> bytes:
    data = reader.read(size) if size else b""
    if len(data) < size:
        raise DamagedStreamError("the zstd stream ends early")
    return data


def _skip(reader: Reader, size: int) -> None:
    while size:
        size -= len(_exactly(reader, min(size, CHUNK)))


_DECOMPRESSORS: dict[str, Callable[[Reader], Iterator[bytes]]] = {
    "gz": _gunzip,
    "zst": _unzstd,
    "xz": _unxz,
}
