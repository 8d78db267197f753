"""Finished shards → their samples with trained tokens marked; reasons aren't kept in shards."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from ifttool.errors import InputChanged, UsageError
from ifttool.figures import is_shards
from ifttool.io.inputs import printable
from ifttool.io.shard_lengths import read_columns, sample_sidecar
from ifttool.records import Place
from ifttool.samples import Origin
from ifttool.schema import IGNORE_LABEL
from ifttool.show.explanation import Explanation, Token
from ifttool.show.rows import Choice
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.tokenizer.reference import encode_texts, spell

NO_REASONS = "shards don't say why a token is trained: show the conversations for reasons"
NO_MASK = "the shard has no loss mask"
_PROVENANCE = ("source", "line", "id", "turn", "turns", "verdict", "truncated")


@dataclass(frozen=True, slots=True)
class _ShardFile:
    """A shard, its provenance sidecar, and the tokenizer beside it."""

    path: Path
    sidecar: Path | None
    tokenizer: Path | None


def shard_samples(sources: Sequence[str], choice: Choice, *, tokenizer: str | None = None) -> Iterator[Explanation]:
    """The wanted samples of finished shards, in order.

    Args:
        sources: Output folders (with ``manifest.json``), ``.parquet`` or ``.arrow`` files.
        choice: Which samples. Lines are those of the input rows where provenance is known, else rows of the shard.
        tokenizer: As for ``load_tokenizer``; None for the one that was written beside the shards.

    Raises:
        UsageError: A source doesn't hold samples, there is no tokenizer, or it isn't the one of the shards.
        InputChanged: A shard is damaged, or doesn't fit its sidecar.
    """
    choice.check()
    if choice.codes:
        raise UsageError("finished shards hold verdicts, not codes", hint="choose samples with --verdict")
    loaded: dict[str, Tokenizer] = {}
    for source in sources:
        for shard in _shard_files(Path(source)):
            name = tokenizer or (None if shard.tokenizer is None else str(shard.tokenizer))
            if name is None:
                raise UsageError(
                    f"there is no tokenizer beside {printable(str(shard.path))}", hint="name one with --tokenizer"
                )
            if name not in loaded:
                loaded[name] = load_tokenizer(name)
            yield from _samples(shard, choice, loaded[name])


def _shard_files(source: Path) -> list[_ShardFile]:
    if not source.is_dir():
        root = source.absolute().parent.parent
        sidecar = root / "provenance" / f"{source.stem}.parquet"
        return [_ShardFile(source, sample_sidecar(_existing(sidecar)), _existing(root / "tokenizer"))]
    if not is_shards(str(source)):
        raise UsageError(f"{printable(str(source))} isn't an output folder: it has no manifest.json")
    try:
        shards = json.loads((source / "manifest.json").read_bytes())["shards"]
        pairs = [(source / shard["path"], shard["provenance"]) for shard in shards]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{printable(str(source))}/manifest.json can't be used ({error!r})") from None
    folder = _existing(source / "tokenizer")
    return [_ShardFile(path, sample_sidecar(None if side is None else source / side), folder) for path, side in pairs]


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _samples(shard: _ShardFile, choice: Choice, tokenizer: Tokenizer) -> Iterator[Explanation]:
    rows = 0
    origins = repeat(None) if shard.sidecar is None else chain(_provenance(shard.sidecar), repeat(None))
    for batch in read_columns(shard.path, ("input_ids", "loss_mask", "labels")):
        names = batch.schema.names
        if "input_ids" not in names:
            raise UsageError(f"{printable(str(shard.path))} has no input_ids: {names}")
        for index, found in zip(range(batch.num_rows), origins, strict=False):
            rows += 1
            if found is None and shard.sidecar is not None:
                raise InputChanged(f"{printable(str(shard.sidecar))} ends before its shard does")
            origin = found or Origin(Place(str(shard.path), rows, -1, -1), None, None, 0, "unknown")
            if choice.wants_origin(origin, _row_id(origin)):
                ids = batch.column("input_ids")[index].as_py()
                yield _explanation(ids, _mask(batch, index), origin, tokenizer, place=f"{shard.path} row {rows}")


def _row_id(origin: Origin) -> str | None:
    """The identifier of the row that a sample was unrolled from."""
    return origin.id if origin.id is None or origin.turn is None else origin.id.removesuffix(f"#{origin.turn}")


def _provenance(sidecar: Path) -> Iterator[Origin | None]:
    for batch in read_columns(sidecar, _PROVENANCE):
        for row in batch.to_pylist():
            place = Place(row["source"], row["line"], -1, -1)
            yield Origin(place, row["id"], row["turn"], row["turns"], row["verdict"], row["truncated"])


def _mask(batch: Any, index: int) -> list[bool] | None:
    names = batch.schema.names
    if "loss_mask" in names:
        mask = [value != 0 for value in batch.column("loss_mask")[index].as_py()]
        # Packed for Megatron-Bridge, a mask lies one to the left inside each sequence; its last there is always 0.
        is_shifted = (batch.schema.field("loss_mask").metadata or {}).get(b"shift") == b"-1"
        return [False, *mask[:-1]] if is_shifted else mask
    if "labels" in names:
        return [value != IGNORE_LABEL for value in batch.column("labels")[index].as_py()]
    return None


def _explanation(
    ids: list[int], mask: list[bool] | None, origin: Origin, tokenizer: Tokenizer, *, place: str
) -> Explanation:
    if mask is not None and len(mask) != len(ids):
        raise InputChanged(f"{printable(place)} has {len(ids)} input_ids, but a loss mask of {len(mask)}")
    if ids and not 0 <= min(ids) <= max(ids) < tokenizer.vocab_size:
        raise UsageError(
            f"{printable(place)} has ids that tokenizer {printable(tokenizer.name)} lacks",
            hint="name the tokenizer that the shards were made with: --tokenizer DIR",
        )
    text, bounds = _spelled(ids, tokenizer)
    tokens = tuple(
        Token(token, start, stop, trained, "")
        for token, (start, stop), trained in zip(ids, bounds, mask or [False] * len(ids), strict=True)
    )
    notes = (f"from {place}", NO_MASK if mask is None else NO_REASONS)
    return Explanation(origin, text, tokens, notes=notes)


def _spelled(ids: list[int], tokenizer: Tokenizer) -> tuple[str, list[tuple[int, int]]]:
    """The text that ids spell, and each token's bounds in it."""
    text = tokenizer.backend.decode(ids, skip_special_tokens=False)
    again = encode_texts(tokenizer, [text])
    if again.ids.tolist() == ids:
        return text, list(zip(again.starts.tolist(), again.ends.tolist(), strict=True))
    # Ids that no encoder gives back, such as control tokens kept as plain text: spell them one by one.
    return spell(tokenizer, ids)
