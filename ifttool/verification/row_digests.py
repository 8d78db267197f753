"""Rows of tokens by digest: what must be the same in a shard and in the packs made of it."""

import hashlib
import itertools

import numpy as np
import numpy.typing as npt

from ifttool.packing.inputs import find_shards, read_rows
from ifttool.samples import IntArray, LongArray

Digests = npt.NDArray[np.uint8]
"""One a row, shape (rows, 16)."""

_SIZE = 16  # two of a billion rows are alike by chance once in 10^20 times


def row_digests(tokens: IntArray, starts: LongArray) -> Digests:
    """Digests of rows without what their first token says of loss, which packs mask.

    Args:
        tokens: ``id`` of each target and ``~id`` of each other token, shape (tokens,), int32.
        starts: Where each row begins, and the total; shape (rows + 1,), int64.
    """
    tokens = tokens.astype("<i4")
    first = starts[:-1][starts[:-1] < starts[1:]]
    tokens[first] = np.minimum(tokens[first], ~tokens[first])
    bounds = starts.tolist()
    digests = (
        hashlib.blake2b(tokens[low:high].data, digest_size=_SIZE).digest() for low, high in itertools.pairwise(bounds)
    )
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _SIZE)


def shard_digests(path: str) -> Digests:
    """Digests of all rows of a shard that was packed.

    Raises:
        UsageError: It can't be packed.
        InputChanged: It is damaged.
    """
    (shard,) = find_shards([path])
    parts = [row_digests(rows.tokens, rows.starts) for rows in read_rows(shard)]
    return np.concatenate([np.zeros((0, _SIZE), np.uint8), *parts])
