"""The finished shards that an export reads: which there are, and their rows as flat arrays."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifttool.errors import InputChanged, UsageError
from ifttool.io.inputs import printable
from ifttool.io.shard_lengths import read_columns, read_description, read_provenance
from ifttool.manifest import read_manifest
from ifttool.samples import IntArray, LongArray, MaskArray
from ifttool.schema import labels_of, token_columns

_SHARD_NAME = re.compile(r"(.+)-\d{5}-of-\d{5}")


@dataclass(frozen=True, slots=True)
class SourceShard:
    """One finished shard.

    Attributes:
        path: The file.
        sidecar: Its provenance.
        rows: Samples in it, as its manifest says.
        tokens: Tokens in it, as its manifest says.
        content_sha256: Digest of its content.
    """

    path: Path
    sidecar: Path
    rows: int
    tokens: int
    content_sha256: str

    def place(self, row: int) -> str:
        """Where row ``row`` (from 0) comes from, for messages."""
        origin = read_provenance(self.sidecar, row)
        return f"{printable(str(self.path))} row {row + 1} (from {printable(origin['source'])}:{origin['line']})"


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The shards of a finished run.

    Attributes:
        root: The output folder.
        manifest: Its manifest.
        splits: Name → shards, in order.
        has_targets: Whether they say which tokens are trained.
        vocab_size: Of the tokenizer.
        eos_id: Id of the tokenizer's EOS token; None if it has none.
    """

    root: Path
    manifest: Mapping[str, Any]
    splits: Mapping[str, Sequence[SourceShard]]
    has_targets: bool
    vocab_size: int
    eos_id: int | None

    def require_targets(self) -> None:
        """Raises UsageError if the shards don't say which tokens are trained."""
        if not self.has_targets:
            raise UsageError(
                f"the shards in {printable(str(self.root))} have neither loss_mask nor labels",
                hint="make them with mask, or with tokenize without --no-loss",
            )


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a shard, in order.

    Attributes:
        ids: Token ids, shape (tokens,), int32.
        mask: 1 where a token is a training target, unshifted, shape (tokens,), int8; all 0 if the shard has no targets.
        starts: Where each row begins, and the total; shape (rows + 1,), int64.
        first: Number of the first row in its shard, from 0.
    """

    ids: IntArray
    mask: MaskArray
    starts: LongArray
    first: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def labels(self) -> IntArray:
        """``ids`` where a token is a target, else -100; shape (tokens,), int32."""
        return labels_of(self.ids, self.mask)


def open_shards(folder: Path) -> ShardSet:
    """Find the shards of a finished run.

    Raises:
        UsageError: The folder holds no finished run.
        InputChanged: A shard that the manifest names is missing.
    """
    manifest = read_manifest(folder / "manifest.json")
    splits: dict[str, list[SourceShard]] = {}
    for entry in manifest["shards"]:
        shard = SourceShard(
            folder / entry["path"],
            folder / entry["provenance"],
            entry["rows"],
            entry["tokens"],
            entry["content_sha256"],
        )
        if not shard.path.is_file():
            raise InputChanged(f"{printable(str(shard.path))} is missing", hint="its manifest names it")
        match = _SHARD_NAME.fullmatch(shard.path.stem)
        splits.setdefault(match[1] if match else shard.path.stem, []).append(shard)
    columns, description = read_description(next(iter(splits.values()))[0].path)
    return ShardSet(
        root=folder,
        manifest=manifest,
        splits=splits,
        has_targets=bool({"loss_mask", "labels"}.intersection(columns)),
        vocab_size=description["vocab_size"],
        eos_id=description["eos_id"],
    )


def read_shard(shard: SourceShard) -> Iterator[Rows]:
    """The rows of a shard, some at a time; page checksums are verified.

    Raises:
        InputChanged: It is damaged, or isn't the one that the manifest describes.
    """
    rows = tokens = 0
    for batch in read_columns(shard.path, ("input_ids", "loss_mask", "labels")):
        found = token_columns(batch)
        part = Rows(found.ids, found.mask, found.rows, rows)
        rows += len(part)
        tokens += len(part.ids)
        yield part
    if (rows, tokens) != (shard.rows, shard.tokens):
        raise InputChanged(
            f"{printable(str(shard.path))} has {rows} rows of {tokens} tokens, its manifest says "
            f"{shard.rows} of {shard.tokens}",
            hint="make the shards again",
        )
