"""Samples in order → the shards of one split."""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from ifttool.arranging.cuts import Cut
from ifttool.samples import Samples
from ifttool.shards import FileFormat, ShardInfo, ShardWriter, slice_samples


@dataclass(frozen=True, slots=True)
class Arranged:
    """A shard that only lacks its final name.

    Attributes:
        name: That name without folder and suffix, such as ``train-00000-of-00008``.
        shard: The file.
        provenance: Its sidecar.
        info: Its figures.
    """

    name: str
    shard: Path
    provenance: Path
    info: ShardInfo


class SplitWriter:
    """Writes a split into a folder, shard after shard. Use as a context manager.

    Args:
        split: Its name.
        cut: Where it is cut.
        stage: The folder.
        schema: Training columns and metadata.
        file_format: Parquet or Arrow IPC.
        keyed: Whether sidecars hold the keys of conversations.
    """

    def __init__(
        self, split: str, cut: Cut, stage: Path, *, schema: pa.Schema, file_format: FileFormat, keyed: bool
    ) -> None:
        self._split, self._cut, self._stage = split, cut, stage
        self._schema, self._format, self._keyed = schema, file_format, keyed
        self._row = self._token = 0
        self._number = -1
        self._stack = ExitStack()
        self._writer: ShardWriter
        self.shards: list[Arranged] = []

    def __enter__(self) -> "SplitWriter":
        self._open(0)
        return self

    def add(self, samples: Samples) -> None:
        """Append samples in order."""
        lengths = np.diff(samples.rows)
        numbers = self._cut.shard_of(self._row, lengths, self._token)
        self._row += len(samples)
        self._token += len(samples.ids)
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(samples)]
        for low, high in pairwise(bounds):
            if low == high:
                continue
            if numbers[low] != self._number:
                self._close()
                self._open(int(numbers[low]))
            self._writer.add(slice_samples(samples, low, high))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._close()
        else:
            self._stack.__exit__(kind, error, trace)

    def _open(self, number: int) -> None:
        self._number = number
        self._stack = ExitStack()
        shard, sidecar = self._paths
        writer = ShardWriter(shard, provenance=sidecar, schema=self._schema, keyed=self._keyed)
        self._writer = self._stack.enter_context(writer)

    def _close(self) -> None:
        self._stack.close()
        shard, sidecar = self._paths
        self.shards.append(Arranged(shard.stem, shard, sidecar, self._writer.info()))

    @property
    def _paths(self) -> tuple[Path, Path]:
        name = f"{self._split}-{self._number:05d}-of-{self._cut.shards:05d}"
        return self._stage / f"{name}.{self._format}", self._stage / f"{name}.origins.parquet"
