"""Columns of token lists as Parquet pages.

A row group of half a million tokens holds some 25,000 different ones. So its pages say which are there, the most
frequent first, and give each token by its number in 16 bits: half the bytes of plain ids for the compressor, with an
upper half that is nearly always small. Masks take one bit a token.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

from ifttool.io.thrift import Value, i32, struct, varint

# Numbers of the enumerations in parquet.thrift.
PLAIN, RLE, RLE_DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2

# Looking tokens up takes a table from the smallest to the largest; vocabularies have some 250,000.
_LARGEST_TABLE = 1 << 22
_MOST = 1 << 16

_Array = npt.NDArray[Any]
_Compressor = zstandard.ZstdCompressor


class Levels(NamedTuple):
    """Where the rows of a column begin, as Parquet says it.

    Attributes:
        data: Repetition and definition levels as they stand at the start of a page.
        number: How many there are: one a token, and one for each empty row.
    """

    data: bytes
    number: int


class Numbers(NamedTuple):
    """Values by their numbers.

    Attributes:
        dictionary: The different values.
        of: The number of each value in it: a boolean, or an integer of 8 or 16 bits.
    """

    dictionary: _Array
    of: _Array


class Chunk(NamedTuple):
    """The pages of one column in one row group.

    Attributes:
        data: A dictionary page, if there is a dictionary, and one data page.
        data_page: Where the data page begins in them.
        uncompressed: What they would take uncompressed, headers included.
        encodings: Those used.
        has_dictionary: Whether the first page is a dictionary.
    """

    data: bytes
    data_page: int
    uncompressed: int
    encodings: tuple[int, ...]
    has_dictionary: bool


def levels_of(offsets: _Array) -> Levels:
    """The levels of a list column without nulls.

    Args:
        offsets: Where each row begins among the values, and the total; shape (rows + 1,).
    """
    lengths = np.diff(offsets)
    slots = np.maximum(lengths, 1)  # an empty row takes one, too
    starts = np.cumsum(slots) - slots
    count = int(slots.sum())
    repeats = np.ones(count, np.uint8)
    repeats[starts] = 0
    empty = starts[lengths == 0]
    if len(empty):
        defined = np.ones(count, np.uint8)
        defined[empty] = 0
        definition = _packed_bits(defined)
    else:
        definition = _run(1, count)
    return Levels(_with_size(_packed_bits(repeats)) + _with_size(definition), count)


def chunk_of(values: _Array, numbers: Numbers | None, levels: Levels, compressor: _Compressor) -> Chunk:
    """A column's values as pages.

    Args:
        values: Values of all rows, one behind the other; int32 or int8.
        numbers: The same by their numbers; None if they have none.
        levels: Where the rows begin.
        compressor: Compresses each page.
    """
    if numbers is None:
        page = _data_page(levels, values.astype("<i4", copy=False).tobytes(), PLAIN, compressor)
        return Chunk(page.data, 0, page.uncompressed, (PLAIN, RLE), False)
    header = struct({1: i32(len(numbers.dictionary)), 2: i32(PLAIN)})
    first = _page(_DICTIONARY_PAGE, {7: header}, numbers.dictionary.astype("<i4").tobytes(), compressor)
    page = _data_page(levels, _packed(numbers), RLE_DICTIONARY, compressor)
    uncompressed = first.uncompressed + page.uncompressed
    return Chunk(first.data + page.data, len(first.data), uncompressed, (PLAIN, RLE, RLE_DICTIONARY), True)


def numbers_of(values: _Array) -> Numbers | None:
    """The different values, the most frequent first, and each one's number; None if they are too many."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low <= 1:
        return Numbers(np.array([low, high]), values != low)
    if high - low >= _LARGEST_TABLE:
        return None
    at = values.astype(np.intp)
    at -= low
    counts = np.bincount(at)
    there = np.flatnonzero(counts != 0)
    if len(there) > _MOST:
        return None
    # Numbers of 16 bits are sorted digit by digit, in a fifth of the time; those beyond count as equal.
    rare = np.uint16(0xFFFF) - np.minimum(counts[there], 0xFFFF).astype(np.uint16)
    there = there[np.argsort(rare, kind="stable")]
    number = np.zeros(len(counts), np.uint8 if len(there) <= 1 << 8 else np.uint16)
    number[there] = np.arange(len(there))
    return Numbers(there + low, number.take(at))


def numbers_beside(values: _Array, others: _Array, numbers: Numbers) -> Numbers | None:
    """Numbers of values that are those of another column or else always the same one, such as labels; None for others.

    Takes a third of the time of :func:`numbers_of`.

    Args:
        values: The values.
        others: Those of another column.
        numbers: The others by their numbers.
    """
    if values.dtype != others.dtype or len(values) != len(others) or not len(values):
        return None
    same = values == others
    first = same.argmin()
    if same[first]:
        return numbers
    filler = values[first]
    count = len(numbers.dictionary) + 1
    if count > _MOST or filler in numbers.dictionary or not (same | (values == filler)).all():
        return None
    beside = numbers.of.astype(np.uint8 if count <= 1 << 8 else np.uint16) + 1
    return Numbers(np.concatenate(([filler], numbers.dictionary)), beside * same)


def _packed(numbers: Numbers) -> bytes:
    """Numbers as a data page has them: how many bits each takes, and runs of them."""
    of = numbers.of
    if of.dtype == np.bool_:
        return bytes([1]) + (_packed_bits(of) if of.any() else _run(0, len(of)))
    groups = -(-len(of) // 8)  # a run takes numbers by eights
    padding = bytes((groups * 8 - len(of)) * of.itemsize)
    return (
        bytes([8 * of.itemsize]) + varint(groups << 1 | 1) + of.astype(of.dtype.newbyteorder("<")).tobytes() + padding
    )


class _Page(NamedTuple):
    data: bytes
    uncompressed: int


def _data_page(levels: Levels, values: bytes, encoding: int, compressor: _Compressor) -> _Page:
    header = struct({1: i32(levels.number), 2: i32(encoding), 3: i32(RLE), 4: i32(RLE)})
    return _page(_DATA_PAGE, {5: header}, levels.data + values, compressor)


def _page(kind: int, header: dict[int, Value], body: bytes, compressor: _Compressor) -> _Page:
    """A page with its header; ``header`` is the part that only pages of its kind have."""
    compressed = compressor.compress(body)
    # The checksum is a signed number in the format: a flipped bit becomes an error instead of a wrong token.
    checksum = int.from_bytes(zlib.crc32(compressed).to_bytes(4, "little"), "little", signed=True)
    sizes = {1: i32(kind), 2: i32(len(body)), 3: i32(len(compressed)), 4: i32(checksum)}
    head = struct({**sizes, **header}).data
    return _Page(head + compressed, len(head) + len(body))


def _packed_bits(bits: _Array) -> bytes:
    """Bits as one run."""
    packed = np.packbits(bits, bitorder="little")
    return varint(len(packed) << 1 | 1) + packed.tobytes()


def _run(number: int, count: int) -> bytes:
    """The same number of one bit, so many times."""
    return varint(count << 1) + bytes([number])


def _with_size(levels: bytes) -> bytes:
    return len(levels).to_bytes(4, "little") + levels
