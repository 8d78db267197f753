"""Figures of finished shards: an output folder, or single Parquet and Arrow files."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ifttool.errors import InputChanged, UsageError
from ifttool.figures.counters import LongSample, Stats
from ifttool.io.inputs import printable
from ifttool.io.shard_lengths import RowLengths, is_shard, read_lengths, read_provenance, read_turns, sample_sidecar
from ifttool.ledger import Tally

MANIFEST = "manifest.json"


def is_shards(source: str) -> bool:
    """Whether a path is an output folder or a shard, rather than conversations.

    Raises:
        InputChanged: It is a damaged Parquet file.
    """
    path = Path(source)
    if path.is_dir():
        return (path / MANIFEST).is_file()
    return path.is_file() and is_shard(path)


def shard_stats(sources: Sequence[str | Path]) -> Stats:
    """Figures of finished shards, measured from the shards themselves.

    Lengths and trained tokens come from the loss masks (or labels), trained turns and origins from the provenance
    sidecars, and the ledger from the manifest; what there isn't is unknown in the result.

    Args:
        sources: Output folders (with ``manifest.json``), ``.parquet`` or ``.arrow`` files.

    Raises:
        UsageError: One of them doesn't hold samples.
        InputChanged: A shard is damaged, missing from its folder, or doesn't fit its sidecar.
    """
    result = Stats()
    for source in sources:
        path = Path(source)
        result += _folder(path) if path.is_dir() else _shard(path, _sidecar_beside(path))
    return result


def _folder(root: Path) -> Stats:
    tally, shards = _read_manifest(root / MANIFEST)
    result = Stats(tally=tally)
    for shard, sidecar in shards:
        part = _shard(root / shard, None if sidecar is None else root / sidecar)
        part.tally = Tally()
        result += part
    return result


def _read_manifest(path: Path) -> tuple[Tally, list[tuple[str, str | None]]]:
    """The counts of a run, and its shards with their sidecars."""
    try:
        manifest = json.loads(path.read_bytes())
        shards = [(str(shard["path"]), shard["provenance"]) for shard in manifest["shards"]]
        return Tally.from_json(manifest), shards
    except OSError as error:
        raise UsageError(f"can't read {printable(str(path))}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{printable(str(path))} isn't a manifest of ifttool ({error!r})", hint="name the shards themselves"
        ) from None


def _sidecar_beside(shard: Path) -> Path | None:
    """The sidecar of a shard that is named without its folder."""
    sidecar = shard.absolute().parent.parent / "provenance" / f"{shard.stem}.parquet"
    return sidecar if shard.absolute().parent.name == "data" and sidecar.is_file() else None


def _shard(shard: Path, sidecar: Path | None) -> Stats:
    result = Stats(tally=None)
    start = 0
    for batch in _batches(shard, of_folder=sidecar is not None):
        result.add(batch.tokens, batch.trained, describe=_describer(batch, str(shard), start))
        start += len(batch.tokens)
    sidecar = sample_sidecar(sidecar)
    if sidecar is not None:
        for turns in read_turns(sidecar):
            result.turns.add(turns)
        if not result.has_turns:
            raise InputChanged(
                f"{printable(str(sidecar))} has {result.turns.count} rows, its shard {result.samples}",
                hint="the folder holds parts of different runs; run mask again with --force",
            )
        result.longest = [_named(sample, sidecar) for sample in result.longest]
    return result


def _batches(shard: Path, *, of_folder: bool) -> Iterator[RowLengths]:
    if of_folder and not shard.is_file():
        raise InputChanged(f"{printable(str(shard))} is missing", hint="its manifest or sidecar names it")
    yield from read_lengths(shard)


def _describer(batch: RowLengths, shard: str, start: int) -> Any:
    def describe(index: int) -> LongSample:
        trained = None if batch.trained is None else int(batch.trained[index])
        return LongSample(int(batch.tokens[index]), trained, shard, start + index + 1)

    return describe


def _named(sample: LongSample, sidecar: Path) -> LongSample:
    """The same sample under the name of its input row."""
    return LongSample(sample.tokens, sample.trained_tokens, **read_provenance(sidecar, sample.line - 1))
