"""Writing shards: row groups cut by tokens, whole files or none, digests on the way."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ifttool import __version__
from ifttool.background import Background
from ifttool.io.atomic import atomic_writer
from ifttool.io.token_parquet import TokenParquetWriter, is_of_tokens
from ifttool.samples import Samples
from ifttool.schema import (
    KEYED_PROVENANCE_SCHEMA,
    PROVENANCE_SCHEMA,
    provenance_batch,
    token_columns,
    training_batch,
)

# Readers decode whole row groups for one row, and streaming readers take one as a batch (trainers.md §2).
ROW_GROUP_TOKENS = 500_000

FileFormat = Literal["parquet", "arrow"]


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What the manifest says of one shard.

    Attributes:
        rows: Samples.
        tokens: Tokens.
        trained_tokens: Training targets.
        longest: Tokens of the longest sample.
        bytes: File size.
        sha256: Digest of the file.
        content_sha256: Digest of row lengths, ids and masks; the same for any Arrow version.
    """

    rows: int
    tokens: int
    trained_tokens: int
    longest: int
    bytes: int
    sha256: str
    content_sha256: str


class ContentDigest:
    """Digest of ids, masks and row lengths that doesn't depend on how rows were batched."""

    def __init__(self) -> None:
        self._parts = [hashlib.sha256() for _ in range(3)]

    def update(self, samples: Samples) -> None:
        lengths = np.diff(samples.rows).astype("<i8")
        for digest, array in zip(self._parts, (lengths, samples.ids, samples.mask), strict=True):
            digest.update(np.ascontiguousarray(array).data)

    def hexdigest(self) -> str:
        return hashlib.sha256(b"".join(part.digest() for part in self._parts)).hexdigest()


class ShardWriter:
    """Writes one shard and its provenance sidecar. Use as a context manager; an exception leaves nothing behind.

    Args:
        path: The shard's final path.
        provenance: Path of its row-aligned sidecar, or None for no sidecar.
        schema: Training columns and metadata.
        keyed: Whether the sidecar holds the keys of conversations.
        beside: Whether row groups are encoded, compressed and hashed in a thread, the next one collected meanwhile:
            that is a fifth of a run on one core.

    The suffix of ``path`` decides the format: ``.parquet``, or ``.arrow`` for Arrow IPC.
    """

    def __init__(
        self, path: Path, *, provenance: Path | None, schema: pa.Schema, keyed: bool = False, beside: bool = True
    ) -> None:
        self._path, self._provenance, self._schema = path, provenance, schema
        self._side_schema = KEYED_PROVENANCE_SCHEMA if keyed else PROVENANCE_SCHEMA
        self._beside = beside
        self._pending: list[Samples] = []
        self._pending_tokens = 0
        self._digest = ContentDigest()
        self._rows = self._tokens = self._trained = self._longest = 0

    def __enter__(self) -> "ShardWriter":
        with ExitStack() as stack:
            self._writer = stack.enter_context(table_writer(self._path, self._schema))
            # Left before the shard: a shard that is there always has its sidecar.
            self._side: Any = None
            if self._provenance is not None:
                self._side = stack.enter_context(table_writer(self._provenance, self._side_schema))
            # Left first of all: no file is closed while a thread writes to it.
            self._thread: Background[None] = stack.enter_context(Background(beside=self._beside))
            stack.push(self._write_rest)
            self._stack = stack.pop_all()
        return self

    def add(self, samples: Samples) -> None:
        """Append samples in order. They must not change afterwards.

        Raises:
            OSError: An earlier row group couldn't be written.
        """
        if not len(samples):
            return
        self._pending.append(samples)
        self._pending_tokens += len(samples.ids)
        while self._pending_tokens >= ROW_GROUP_TOKENS:
            joined = concatenate(self._pending)
            rows = int(np.searchsorted(joined.rows, ROW_GROUP_TOKENS))
            self._thread.start(self._write_group, slice_samples(joined, 0, rows))
            rest = slice_samples(joined, rows, len(joined))
            self._pending = [rest] if len(rest) else []
            self._pending_tokens = len(rest.ids)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)

    def info(self) -> ShardInfo:
        """Figures of the finished shard."""
        return ShardInfo(
            rows=self._rows,
            tokens=self._tokens,
            trained_tokens=self._trained,
            longest=self._longest,
            bytes=self._path.stat().st_size,
            sha256=file_sha256(self._path),
            content_sha256=self._digest.hexdigest(),
        )

    def _write_rest(self, _kind: Any, error: Any, _trace: Any) -> None:
        if error is None:
            self._thread.result()
            if self._pending:
                self._write_group(concatenate(self._pending))

    def _write_group(self, samples: Samples) -> None:
        self._digest.update(samples)
        self._rows += len(samples)
        self._tokens += len(samples.ids)
        self._trained += int(samples.mask.sum(dtype=np.int64))
        self._longest = max(self._longest, int(np.diff(samples.rows).max()))
        self._writer.write(training_batch(samples, self._schema))
        if self._side is not None:
            self._side.write(provenance_batch(samples, self._side_schema))


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Any]:
    """Write a file of record batches, whole or not at all; see ``atomic_writer``.

    Args:
        path: Its suffix decides the format: ``.arrow`` for Arrow IPC, else Parquet.
        schema: That of the batches.

    Yields:
        An object whose ``write(batch)`` adds one row group.
    """
    with atomic_writer(path) as file:
        writer = _open_writer(file, schema, path)
        try:
            yield writer
        except BaseException:
            # Closed while its file is still open: pyarrow's destructor would complain later.
            with suppress(Exception):
                writer.close()
            raise
        writer.close()


def _open_writer(file: BinaryIO, schema: pa.Schema, path: Path) -> Any:
    if path.suffix == ".arrow":
        return pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    if is_of_tokens(schema):
        return TokenParquetWriter(file, schema, written_by=f"ifttool version {__version__}")
    return _ParquetWriter(file, schema)


class _ParquetWriter:
    """One record batch in, one row group out: sidecars, by Arrow."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        lists = [field.name for field in schema if pa.types.is_list(field.type)]
        self._writer = pq.ParquetWriter(
            file,
            schema,
            version="2.6",
            compression="zstd",
            compression_level=1,
            use_dictionary=[field.name for field in schema if field.name not in lists],
            write_statistics=not lists,
            write_page_checksum=True,
            store_schema=True,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_table(pa.Table.from_batches([batch]), row_group_size=max(1, batch.num_rows))

    def close(self) -> None:
        self._writer.close()


def merge_parts(parts: Sequence[Path], infos: Sequence[ShardInfo], target: Path) -> ShardInfo:
    """Join part files into one, row group by row group; all figures are those of one shard with these rows."""
    digest = ContentDigest()
    with table_writer(target, read_schema(parts[0])) as writer:
        for part in parts:
            for batch in read_batches(part):
                digest.update(token_columns(batch))
                writer.write(batch)
    return ShardInfo(
        rows=sum(info.rows for info in infos),
        tokens=sum(info.tokens for info in infos),
        trained_tokens=sum(info.trained_tokens for info in infos),
        longest=max(info.longest for info in infos),
        bytes=target.stat().st_size,
        sha256=file_sha256(target),
        content_sha256=digest.hexdigest(),
    )


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The row groups of a shard, one record batch each; page checksums are verified."""
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
        return
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for index in range(file.num_row_groups):
            yield from file.read_row_group(index).combine_chunks().to_batches()


def read_schema(path: Path) -> pa.Schema:
    """The schema of a shard."""
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).schema
    return pq.read_schema(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Several batches of samples as one."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(int(part.rows[-1]) for part in parts[:-1])])
    rows = [part.rows[1:] + start for part, start in zip(parts, starts, strict=True)]
    return Samples(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.mask for part in parts]),
        np.concatenate([np.zeros(1, np.int64), *rows]),
        [origin for part in parts for origin in part.origins],
    )


def slice_samples(samples: Samples, start: int, stop: int) -> Samples:
    """Samples ``start`` to ``stop``; ids and mask are views."""
    low, high = int(samples.rows[start]), int(samples.rows[stop])
    return Samples(
        samples.ids[low:high],
        samples.mask[low:high],
        samples.rows[start : stop + 1] - low,
        samples.origins[start:stop],
    )
