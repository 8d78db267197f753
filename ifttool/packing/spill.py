"""Rows on their way from input order into pack order: in memory while they fit, else on disk, a file a bucket."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ifttool.errors import InputChanged
from ifttool.samples import IntArray, LongArray

# 64 MB of tokens. A flush appends to every bucket: at 16 M tokens and buckets of 4 M, some 100 KB each for a set of
# 160 buckets (0.6 billion tokens).
BUFFERED_TOKENS = 16_000_000


class Spill:
    """Distributes rows to buckets in one pass over the input.

    Args:
        folder: Where files may go. They hold bare int32 in native order; who made the folder removes it.
        buckets: How many there are.
    """

    def __init__(self, folder: Path, *, buckets: int) -> None:
        self._folder = folder
        self._parts: list[list[IntArray]] = [[] for _ in range(buckets)]
        self._held = 0

    def add(self, tokens: IntArray, starts: LongArray, buckets: IntArray) -> None:
        """Hand over rows; those of one bucket keep their order.

        Args:
            tokens: Shape (tokens,).
            starts: Where each row begins, and the total; shape (rows + 1,).
            buckets: The bucket of each row, -1 for rows that nobody wants; shape (rows,).
        """
        order = np.argsort(buckets, kind="stable")
        bounds = np.flatnonzero(np.diff(buckets[order], prepend=-1, append=len(self._parts)))
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            part = gather(tokens, starts[:-1][order[low:high]], starts[1:][order[low:high]])
            self._parts[int(buckets[order[low]])].append(part)
            self._held += len(part)
        if self._held > BUFFERED_TOKENS:
            self._flush()

    def take(self, bucket: int, *, tokens: int) -> IntArray:
        """All tokens of a bucket in the order they came, once.

        Args:
            bucket: Which.
            tokens: How many there must be.

        Raises:
            InputChanged: There are more or fewer.
        """
        path = self._path(bucket)
        parts = self._parts[bucket]
        if path.exists():
            parts = [np.fromfile(path, np.int32), *parts]
            path.unlink()
        self._parts[bucket] = []
        result = np.concatenate([np.zeros(0, np.int32), *parts])
        if len(result) != tokens:
            raise InputChanged("an input shard changed while it was packed", hint="run again")
        return result

    def _flush(self) -> None:
        for bucket, parts in enumerate(self._parts):
            if parts:
                with self._path(bucket).open("ab") as file:
                    for part in parts:
                        part.tofile(file)
                parts.clear()
        self._held = 0

    def _path(self, bucket: int) -> Path:
        return self._folder / f"bucket-{bucket:06d}"


def gather(tokens: IntArray, starts: LongArray, stops: LongArray) -> IntArray:
    """Slices of an array, one after the other."""
    pieces: Sequence[IntArray] = [
        tokens[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
