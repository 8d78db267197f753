"""Where a run writes: parts while it goes on, whole files under their final names when it is done."""

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ifttool.arranging.arrange import Stage
from ifttool.arranging.writing import Arranged
from ifttool.errors import RunError, UsageError
from ifttool.io.atomic import (
    REFUSED,
    SUCCESSOR,
    atomic_writer,
    copy_atomic,
    fsync_directory,
    prepare_output_dir,
    remove_temporaries,
    replace_output,
    write_bytes_atomic,
)
from ifttool.shards import FileFormat, ShardInfo, file_sha256, merge_parts
from ifttool.split import PartPaths, SplitResult
from ifttool.tokenizer.load import Tokenizer

_FOLDERS = ("data", "provenance", "tokenizer")
_DOCUMENTS = ("manifest.json", "README.md")
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

    @property
    def rejects(self) -> Path:
        """Where rows that were left out are listed while the run goes on."""

    def parts(self, index: int) -> PartPaths:
        """Where split ``index`` writes."""

    def finish(self, results: Sequence[SplitResult]) -> list[Shard]:
        """Give the parts their final names and forms, in input order."""

    @property
    def stage(self) -> Stage:
        """Where an arrangement works, if there is one."""

    def place(self, shards: Sequence[Arranged]) -> list[Shard]:
        """Give arranged shards their final names, and remove what was kept on the way."""

    def refuse(self) -> Path:
        """Remove the parts of a run with too many rejects; gives the place where they are listed now."""

    def discard(self) -> None:
        """Remove the parts of a run that isn't committed, half-written ones of killed workers too."""


class FolderSink:
    """``OUT/`` of DESIGN section 6: data, provenance, tokenizer, dataset card, manifest.

    Args:
        path: The folder.
        file_format: Parquet or Arrow IPC.
        force: Replace an earlier output of ifttool, once this one is whole.
        staged: Whether parts are to be arranged before they are shards.
        keep: Keep what a killed run left; the caller knows that it can be used.

    Attributes:
        root: Where files are written: the folder, or a hidden one in it until :meth:`commit`.

    Raises:
        UsageError: The folder isn't empty and ``force`` isn't given, or it holds what ifttool didn't write.
    """

    def __init__(
        self, path: Path, *, file_format: FileFormat, force: bool, staged: bool = False, keep: bool = False
    ) -> None:
        self._path, self._format, self._staged = path, file_format, staged
        self._is_new = not path.exists()
        successor = path / SUCCESSOR
        if keep:
            self.root = successor if successor.is_dir() else path
        else:
            self.root = prepare_output_dir(path, force=force)
        try:
            for name in ("data", "provenance"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            if staged:
                self.stage.folder.mkdir(exist_ok=keep)
        except BaseException:
            if not keep:
                self.discard()
            raise

    @property
    def rejects(self) -> Path:
        return self.root / "rejects.jsonl"

    @property
    def stage(self) -> Stage:
        return Stage(self.root / "data" / ".stage", self._format)

    def parts(self, index: int) -> PartPaths:
        name = f".part-{index:05d}"
        if self._staged:
            return _staged_part(self.stage.folder, name)
        return PartPaths(
            shard=self.root / "data" / f"{name}.{self._format}",
            provenance=self.root / "provenance" / f"{name}.parquet",
            rejects=self.root / "provenance" / f"{name}.rejects.jsonl",
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
            parts.shard.replace(self.root / shard)
            if parts.provenance is not None:
                parts.provenance.replace(self.root / sidecar)
            shards.append(Shard(shard, sidecar, result.shard))
        for folder in (self.root / "data", self.root / "provenance"):
            remove_temporaries(folder)
            fsync_directory(folder)
        return shards

    def place(self, shards: Sequence[Arranged]) -> list[Shard]:
        placed = []
        for one in shards:
            shard = f"data/{one.name}.{self._format}"
            sidecar = f"provenance/{one.name}.parquet"
            one.shard.replace(self.root / shard)
            one.provenance.replace(self.root / sidecar)
            placed.append(Shard(shard, sidecar, one.info))
        shutil.rmtree(self.stage.folder)
        fsync_directory(self.root / "data")
        fsync_directory(self.root / "provenance")
        return placed

    def refuse(self) -> Path:
        rejects = self.rejects
        if self._replaces:
            rejects = rejects.replace(self._path / REFUSED)
        self.discard()
        return rejects

    def discard(self) -> None:
        for folder in (self.root,) if self._replaces else [self.root / name for name in _FOLDERS]:
            shutil.rmtree(folder, ignore_errors=True)
        for name in _DOCUMENTS:
            # The folder was empty when the run began, but for a list of rejects.
            with suppress(OSError):
                (self.root / name).unlink(missing_ok=True)
        if self._is_new:
            with suppress(OSError):  # it holds a list of rejects
                self.root.rmdir()

    def commit(self) -> None:
        """Replace the earlier output, if there is one, by what is whole now."""
        if self._replaces:
            replace_output(self._path)

    @property
    def _replaces(self) -> bool:
        return self.root != self._path

    def write_tokenizer(self, tokenizer: Tokenizer, template: str) -> dict[str, str]:
        """Copy what is needed to train on and to verify the shards; returns file → SHA-256."""
        folder = self.root / "tokenizer"
        folder.mkdir(exist_ok=True)
        for name in _TOKENIZER_FILES:
            source = tokenizer.folder / name
            if source.is_file():
                copy_atomic(source, folder / name)
        if not (folder / "tokenizer_config.json").exists():
            config = {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.special_tokens}
            write_bytes_atomic(folder / "tokenizer_config.json", _json(config))
        write_bytes_atomic(folder / "chat_template.jinja", template.encode("utf-8"))
        return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}

    def side_files(self) -> dict[str, str]:
        """SHA-256 of what says where samples come from and which rows gave none, by path in the folder."""
        paths = [*sorted((self.root / "provenance").glob("*.parquet")), self.rejects]
        return {path.relative_to(self.root).as_posix(): file_sha256(path) for path in paths if path.is_file()}

    def write_card(self, figures: dict[str, Any], splits: Iterable[str] = ("train",)) -> None:
        """The dataset card. Its ``configs`` make ``load_dataset(OUT)`` work whatever else lies in the folder."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
        files = "".join(f"  - split: {name}\n    path: data/{name}-*.{self._format}\n" for name in splits)
        card = (
            f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
            "# Training shards\n\nWritten by ifttool. `manifest.json` says from what and how; "
            "`provenance/` says which input row each sample comes from.\n\n"
            f"| figure | value |\n|---|---|\n{rows}\n"
        )
        write_bytes_atomic(self.root / "README.md", card.encode("utf-8"))

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Written last: where it is, the output is complete."""
        write_bytes_atomic(self.root / "manifest.json", _json(manifest))


class FileSink:
    """One file of samples and nothing else; its parts live in a hidden folder beside it until it is done.

    Args:
        path: The file.
        file_format: Parquet or Arrow IPC.
        force: Replace it, once the new one is whole.
        staged: Whether parts are to be arranged before they are a file.

    Raises:
        UsageError: It exists and ``force`` isn't given, or its folder doesn't exist.
    """

    def __init__(self, path: Path, *, file_format: FileFormat, force: bool, staged: bool = False) -> None:
        check_new_file(path, force=force)
        self._path, self._format, self._staged = path, file_format, staged
        self._replaces = path.exists()
        self._target = path.resolve()  # of a link, the file it leads to
        self._folder = self._target.with_name(f".{path.name}.parts")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()

    @property
    def rejects(self) -> Path:
        return self._folder / "rejects.jsonl"

    @property
    def stage(self) -> Stage:
        return Stage(self._folder, self._format, is_file=True)

    def parts(self, index: int) -> PartPaths:
        name = f"part-{index:05d}"
        if self._staged:
            return _staged_part(self._folder, name)
        return PartPaths(
            shard=self._folder / f"{name}.{self._format}",
            provenance=None,
            rejects=self._folder / f"{name}.rejects.jsonl",
        )

    def finish(self, results: Sequence[SplitResult]) -> list[Shard]:
        parts = [self.parts(result.index).shard for result in results]
        whole = self._folder / f"whole.{self._format}"
        return self._put(whole, merge_parts(parts, [result.shard for result in results], whole))

    def place(self, shards: Sequence[Arranged]) -> list[Shard]:
        (one,) = shards
        return self._put(one.shard, one.info)

    def refuse(self) -> Path:
        kept = self._path.with_name(f"{self._path.stem}.{REFUSED}") if self._replaces else listed_rejects(self._path)
        shutil.move(self.rejects, kept)
        self.discard()
        return kept

    def _put(self, whole: Path, info: ShardInfo) -> list[Shard]:
        """Give the file and its list of rejects their names."""
        rejects = listed_rejects(self._path)
        try:
            whole.replace(self._target)
            if self.rejects.exists():
                shutil.move(self.rejects, rejects)
            elif self._replaces:
                rejects.unlink(missing_ok=True)  # those of the file that was replaced
            fsync_directory(self._target.parent)
            shutil.rmtree(self._folder)
        except OSError as error:
            raise RunError(f"can't write {self._path}: {error.strerror or error}") from error
        return [Shard(self._path.name, None, info)]

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def listed_rejects(output: Path) -> Path:
    """Where the rows lie that gave no sample of an output: in the folder, or beside the file."""
    if output.suffix in (".parquet", ".arrow"):
        return output.with_name(f"{output.stem}.rejects.jsonl")
    return output / "rejects.jsonl"


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


def _staged_part(folder: Path, name: str) -> PartPaths:
    """A part that is yet to be arranged: always Arrow, always with a sidecar."""
    return PartPaths(folder / f"{name}.arrow", folder / f"{name}.parquet", folder / f"{name}.rejects.jsonl")


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def _remove(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise RunError(f"can't remove {path}: {error.strerror}") from error
