"""Where a run writes: parts while it goes on, whole files under their final names when it is done."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ifttool.errors import RunError, UsageError
from ifttool.io.atomic import atomic_writer, fsync_directory, prepare_output_dir, write_bytes_atomic
from ifttool.shards import FileFormat, ShardInfo, file_sha256, merge_parts
from ifttool.split import PartPaths, SplitResult
from ifttool.tokenizer.load import Tokenizer

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard: its path (relative to the output folder) and figures."""

    path: str
    provenance: str | None
    info: ShardInfo

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "provenance": self.provenance, **asdict(self.info)}


class Sink(Protocol):
    """Where the parts of a run go and how they become its output."""

    def parts(self, index: int) -> PartPaths:
        """Where split ``index`` writes."""

    def finish(self, results: Sequence[SplitResult]) -> list[Shard]:
        """Give the parts their final names and forms, in input order."""

    def discard(self) -> None:
        """Remove the parts of a run that isn't committed, half-written ones of killed workers too."""


class FolderSink:
    """``OUT/`` of DESIGN section 6: data, provenance, tokenizer, dataset card, manifest.

    Args:
        root: The folder.
        file_format: Parquet or Arrow IPC.
        force: Replace an earlier output of ifttool.

    Raises:
        UsageError: The folder isn't empty and ``force`` isn't given, or it holds what ifttool didn't write.
    """

    def __init__(self, root: Path, *, file_format: FileFormat, force: bool) -> None:
        self._root, self._format = root, file_format
        prepare_output_dir(root, force=force)
        for name in ("data", "provenance"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def parts(self, index: int) -> PartPaths:
        name = f".part-{index:05d}"
        return PartPaths(
            shard=self._root / "data" / f"{name}.{self._format}",
            provenance=self._root / "provenance" / f"{name}.parquet",
            rejects=self._root / "provenance" / f"{name}.rejects.jsonl",
        )

    def finish(self, results: Sequence[SplitResult]) -> list[Shard]:
        """Parts without samples are removed; if all are, one empty shard stays to show the schema."""
        wanted = [result for result in results if result.shard.rows] or list(results[:1])
        kept = {result.index for result in wanted}
        for result in results:
            if result.index not in kept:
                _remove(self.parts(result.index).shard, self.parts(result.index).provenance)
        shards = []
        for number, result in enumerate(wanted):
            name = f"train-{number:05d}-of-{len(wanted):05d}"
            parts = self.parts(result.index)
            shard = f"data/{name}.{self._format}"
            sidecar = f"provenance/{name}.parquet"
            parts.shard.replace(self._root / shard)
            if parts.provenance is not None:
                parts.provenance.replace(self._root / sidecar)
            shards.append(Shard(shard, sidecar, result.shard))
        fsync_directory(self._root / "data")
        fsync_directory(self._root / "provenance")
        return shards

    def discard(self) -> None:
        for name in ("data", "provenance"):
            shutil.rmtree(self._root / name, ignore_errors=True)

    def write_tokenizer(self, tokenizer: Tokenizer, template: str) -> dict[str, str]:
        """Copy what is needed to train on and to verify the shards; returns file → SHA-256."""
        folder = self._root / "tokenizer"
        folder.mkdir(exist_ok=True)
        for name in _TOKENIZER_FILES:
            source = tokenizer.folder / name
            if source.is_file():
                shutil.copyfile(source, folder / name)
        if not (folder / "tokenizer_config.json").exists():
            config = {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.special_tokens}
            write_bytes_atomic(folder / "tokenizer_config.json", _json(config))
        write_bytes_atomic(folder / "chat_template.jinja", template.encode("utf-8"))
        return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}

    def write_card(self, figures: dict[str, Any]) -> None:
        """The dataset card. Its ``configs`` make ``load_dataset(OUT)`` work whatever else lies in the folder."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
        card = (
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
            f"    path: data/train-*.{self._format}\n---\n\n"
            "# Training shards\n\nWritten by ifttool. `manifest.json` says from what and how; "
            "`provenance/` says which input row each sample comes from.\n\n"
            f"| figure | value |\n|---|---|\n{rows}\n"
        )
        write_bytes_atomic(self._root / "README.md", card.encode("utf-8"))

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Written last: where it is, the output is complete."""
        write_bytes_atomic(self._root / "manifest.json", _json(manifest))


class FileSink:
    """One file of samples and nothing else; its parts live in a hidden folder beside it until it is done.

    Args:
        path: The file.
        file_format: Parquet or Arrow IPC.
        force: Overwrite it.

    Raises:
        UsageError: It exists and ``force`` isn't given, or its folder doesn't exist.
    """

    def __init__(self, path: Path, *, file_format: FileFormat, force: bool) -> None:
        check_new_file(path, force=force)
        self._path, self._format = path, file_format
        self._folder = path.parent / f".{path.name}.parts"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()

    def parts(self, index: int) -> PartPaths:
        name = f"part-{index:05d}"
        return PartPaths(
            shard=self._folder / f"{name}.{self._format}",
            provenance=None,
            rejects=self._folder / f"{name}.rejects.jsonl",
        )

    def finish(self, results: Sequence[SplitResult]) -> list[Shard]:
        parts = [self.parts(result.index).shard for result in results]
        info = merge_parts(parts, [result.shard for result in results], self._path)
        shutil.rmtree(self._folder)
        return [Shard(self._path.name, None, info)]

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def check_new_file(path: Path, *, force: bool) -> None:
    """Make sure that a file may be written.

    Raises:
        UsageError: It exists and ``force`` isn't given, or its folder doesn't exist.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} isn't a folder", hint="create it first")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="--force overwrites it")


def join_rejects(parts: Sequence[Path], target: Path | None) -> None:
    """Append reject files into one, atomically and in order, and remove them; no target: just remove them."""
    if target is not None:
        with atomic_writer(target) as out:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
    _remove(*parts)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def _remove(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise RunError(f"can't remove {path}: {error.strerror}") from error
