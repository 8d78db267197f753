"""Shards to be packed: which there are, what they hold, and their rows as flat arrays."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ifttool.errors import InputChanged, UsageError
from ifttool.figures import is_shards
from ifttool.io.inputs import expand_inputs, printable
from ifttool.io.shard_lengths import read_columns, read_description
from ifttool.io.unfinished import refuse_unfinished
from ifttool.packing.schema import list_lengths
from ifttool.samples import IntArray, LongArray
from ifttool.schema import IGNORE_LABEL

_SPLIT = re.compile(r"(?P<split>.+)-\d+-of-\d+")
_OF_PACKS = ("seq_lengths", "seq_start_id", "position_ids")


@dataclass(frozen=True, slots=True)
class InputShard:
    """A shard to be packed.

    Attributes:
        path: As given, or below the folder that was given.
        split: ``train``, ``validation``, …: what its name begins with.
        loss: The column that says what bears loss, ``loss_mask`` or ``labels``.
        metadata: What it says of itself; empty for foreign shards.
    """

    path: str
    split: str
    loss: str
    metadata: dict[str, Any]

    @property
    def folder(self) -> Path | None:
        """The output folder that it is part of, if any."""
        parent = Path(self.path).absolute().parent
        return parent.parent if parent.name == "data" and (parent.parent / "manifest.json").is_file() else None


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a shard.

    Attributes:
        tokens: ``id`` of each target and ``~id`` of each other token: both in four bytes; shape (tokens,), int32.
        starts: Where each row begins, and the total; shape (rows + 1,), int64.
    """

    tokens: IntArray
    starts: LongArray


def find_shards(names: Sequence[str]) -> list[InputShard]:
    """The shards of output folders, files and globs, in order.

    Raises:
        UsageError: There is no such input, it doesn't hold samples, is packed already, or doesn't say what bears loss;
            or inputs were made with different tokenizers.
        InputChanged: A shard is damaged, or missing from its folder.
    """
    shards = [_examine(path) for path in expand_inputs([path for name in names for path in _paths(name)])]
    tokenizers = {shard.metadata.get("tokenizer_sha256"): shard.path for shard in shards}
    if len(tokenizers) > 1:
        first, second, *_ = tokenizers.values()
        raise UsageError(
            f"{printable(first)} and {printable(second)} were made with different tokenizers",
            hint="their ids mean different tokens: pack them apart",
        )
    return shards


def read_rows(shard: InputShard) -> Iterator[Rows]:
    """The rows of a shard, batch by batch; page checksums are verified.

    Raises:
        UsageError: Masks aren't 0 or 1, labels aren't the unshifted ids, or there are nulls or negative ids.
        InputChanged: The shard is damaged.
    """
    first = 0
    for batch in read_columns(Path(shard.path), ("input_ids", shard.loss)):
        ids, loss = batch.column("input_ids"), batch.column(shard.loss)
        lengths = list_lengths(ids)
        where = f"{printable(shard.path)}, rows {first} to {first + len(lengths) - 1}"
        if not np.array_equal(lengths, list_lengths(loss)):
            raise InputChanged(f"{where}: input_ids and {shard.loss} differ in length")
        tokens = _marked(_flat(ids, where), _flat(loss, where), shard.loss, where)
        yield Rows(tokens, np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths))))
        first += len(lengths)


def _paths(name: str) -> list[str]:
    root = Path(name)
    if not root.is_dir():
        return [name]
    if not is_shards(name):
        refuse_unfinished(root)
        raise UsageError(f"{printable(name)} isn't an output folder: it has no manifest.json", hint="name the shards")
    try:
        return [str(root / shard["path"]) for shard in json.loads((root / "manifest.json").read_bytes())["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{printable(name)}/manifest.json can't be used ({error!r})") from None


def _examine(path: str) -> InputShard:
    if not is_shards(path):
        raise UsageError(f"{printable(path)} doesn't hold finished samples", hint="make shards with `ifttool mask`")
    columns, metadata = read_description(Path(path))
    if "input_ids" not in columns:
        raise UsageError(f"{printable(path)} has no input_ids: {columns}")
    if any(name in columns for name in _OF_PACKS):
        raise UsageError(f"{printable(path)} is packed already", hint="pack the shards that it was made of")
    loss = next((name for name in ("loss_mask", "labels") if name in columns), None)
    if loss is None:
        raise UsageError(
            f"{printable(path)} doesn't say which tokens bear loss: it has neither loss_mask nor labels",
            hint="write them with `ifttool mask`, or `ifttool tokenize` without --no-loss",
        )
    split = _SPLIT.fullmatch(Path(path).stem)
    return InputShard(path, split["split"] if split else "train", loss, metadata)


def _flat(column: Any, where: str) -> npt.NDArray[Any]:
    values = column.flatten()
    if column.null_count or values.null_count:
        raise UsageError(f"{where}: there are nulls among the tokens")
    array: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array


def _marked(ids: npt.NDArray[Any], loss: npt.NDArray[Any], name: str, where: str) -> IntArray:
    if len(ids) and not (ids.min() >= 0 and ids.max() < 2**31):
        raise UsageError(f"{where}: input_ids hold {min(ids.min(), 0) or ids.max()}, which isn't a token id")
    if name == "labels":
        trained = loss != IGNORE_LABEL
        if (loss[trained] != ids[trained]).any():
            raise UsageError(
                f"{where}: labels aren't the ids of their own tokens", hint="shifted labels can't be packed"
            )
    else:
        trained = loss != 0
        if (loss[trained] != 1).any():
            raise UsageError(f"{where}: loss_mask holds values other than 0 and 1", hint="weights can't be packed")
    ids = ids.astype(np.int32, copy=False)
    return np.where(trained, ids, ~ids)
