"""Arrow arrays from buffers, and back.

``pa.array`` and ``to_numpy`` do the same, but import pandas where it is installed, to ask whether it was given a
Series: 0.35 s and 60 MB for every process of a run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def number_array(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers, sharing their memory."""
    return _array(pa.from_numpy_dtype(values.dtype), len(values), _buffer(values))


def numbers_in(array: pa.Array, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """The numbers of an array without nulls, sharing their memory; the opposite of :func:`number_array`."""
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(0, kind)
    return np.frombuffer(buffer, kind)[array.offset : array.offset + len(array)]


def flag_array(values: Sequence[bool]) -> pa.Array:
    """Booleans."""
    return _array(pa.bool_(), len(values), _bits(values))


def optional_int_array(values: Sequence[int | None]) -> pa.Array:
    """Integers of 32 bits, some of them null."""
    present = [value is not None for value in values]
    numbers = np.array([value or 0 for value in values], np.int32)
    return _array(pa.int32(), len(values), _buffer(numbers), present=present)


def string_array(values: Sequence[str | None]) -> pa.Array:
    """Strings, some of them null. Bytes of a path that aren't UTF-8 are escaped as in ``rejects.jsonl``."""
    # Each different one once: a column of a million sources names a few files.
    spelled = {value: (value or "").encode(errors="backslashreplace") for value in dict.fromkeys(values)}
    if len(spelled) == 1:
        (text,) = spelled.values()
        offsets, joined = np.arange(len(values) + 1, dtype=np.int32) * np.int32(len(text)), text * len(values)
    else:
        texts = [*map(spelled.__getitem__, values)]
        offsets, joined = np.cumsum([0, *map(len, texts)]).astype(np.int32), b"".join(texts)
    present = [value is not None for value in values] if None in spelled else ()
    return _array(pa.string(), len(values), _buffer(offsets), pa.py_buffer(joined), present=present)


def _array(kind: pa.DataType, length: int, *buffers: pa.Buffer, present: Sequence[bool] = ()) -> pa.Array:
    validity = None if all(present) else _bits(present)
    return pa.Array.from_buffers(kind, length, [validity, *buffers])


def _buffer(values: npt.NDArray[Any]) -> pa.Buffer:
    return pa.py_buffer(np.ascontiguousarray(values))


def _bits(values: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, np.bool_), bitorder="little"))
