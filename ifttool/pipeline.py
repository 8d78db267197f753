"""A run: inputs → splits → parts → shards → manifest."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

from ifttool import __version__
from ifttool.engine import Task, default_workers, run_tasks
from ifttool.errors import UsageError
from ifttool.ledger import SourceLedger, Tally
from ifttool.output import FileSink, FolderSink, Shard, Sink, join_rejects
from ifttool.recipe import Recipe
from ifttool.schema import COLUMNS, FORMAT, training_schema
from ifttool.shards import FileFormat
from ifttool.split import SplitResult, read_splits
from ifttool.tolerance import Tolerance
from ifttool.worker import Worker

OnProgress = Callable[[Tally, int], None]
"""Called now and then with the counts so far and the bytes of input they cover."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where shards go.

    Attributes:
        path: A folder, or one file if its suffix is ``.parquet`` or ``.arrow``.
        file_format: Parquet or Arrow IPC; the suffix decides for a single file.
        columns: Training columns, in order.
        force: Replace an earlier output.
    """

    path: Path
    file_format: FileFormat = "parquet"
    columns: tuple[str, ...] = COLUMNS
    force: bool = False

    @classmethod
    def of(cls, path: Path, *, file_format: str, columns: tuple[str, ...] = COLUMNS, force: bool = False) -> "Target":
        """A target from options.

        Raises:
            UsageError: There is no such format, or shards were to go to standard output.
        """
        if str(path) == "-":
            raise UsageError("shards can't go to standard output", hint="give -o a folder, or a .parquet file")
        if file_format not in get_args(FileFormat):
            raise UsageError(f"--format can't be {file_format!r}", hint="choose parquet or arrow")
        return cls(path, cast(FileFormat, file_format), columns, force)

    @property
    def is_file(self) -> bool:
        return self.path.suffix in (".parquet", ".arrow")

    @property
    def rejects(self) -> Path:
        """Where rows that were left out go: into the folder, or beside the file."""
        if self.is_file:
            return self.path.with_name(f"{self.path.stem}.rejects.jsonl")
        return self.path / "rejects.jsonl"

    def open(self) -> Sink:
        """Prepare the place.

        Raises:
            UsageError: Something is there already and ``force`` isn't set.
        """
        if not self.is_file:
            return FolderSink(self.path, file_format=self.file_format, force=self.force)
        suffix: FileFormat = "parquet" if self.path.suffix == ".parquet" else "arrow"
        return FileSink(self.path, file_format=suffix, force=self.force)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The outcome of a run.

    Attributes:
        tally: Everything counted.
        shards: What was written; empty if the run wasn't committed.
        committed: Whether the output is complete; False if there were too many rejects.
        rejects: The file of rows that were left out; None if there are none.
    """

    tally: Tally
    shards: tuple[Shard, ...]
    committed: bool
    rejects: Path | None

    def as_json(self) -> dict[str, Any]:
        return {
            "committed": self.committed,
            "rejects": None if self.rejects is None else str(self.rejects),
            **self.tally.as_json(),
            "shards": [shard.as_json() for shard in self.shards],
        }


def run_shards(
    recipe: Recipe,
    sources: Sequence[str],
    target: Target,
    *,
    tolerance: Tolerance,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
    workers: int | None = None,
) -> RunSummary:
    """Turn conversations into shards. The bytes written don't depend on the number of workers (None: all cores).

    Every row is scanned even if the run can't be committed, so that all faults are known at once.

    Raises:
        UsageError: Options, template, tokenizer or inputs can't be used; nothing was written.
        RunError: I/O failed; nothing of this run is left but what ``rejects`` holds.
    """
    worker = Worker(recipe)
    worker.check_fit()
    sink = target.open()
    schema = training_schema(target.columns, _schema_metadata(recipe, worker))
    results: list[SplitResult] = []
    tally = Tally({source: SourceLedger() for source in sources})
    counted = tally
    read = 0
    tasks = (Task(split, sink.parts(split.index)) for split in read_splits(sources, stdin=stdin))
    try:
        for task, result in run_tasks(tasks, worker, schema, workers=workers or default_workers()):
            results.append(result)
            counted += result.tally
            read += task.split.size
            if on_progress is not None:
                on_progress(counted, read)
        results.sort(key=lambda result: result.index)
        tally = sum((result.tally for result in results), tally)
        committed = tolerance.allows(tally.total)
        rejects = target.rejects if any(result.rejects for result in results) else None
        join_rejects([sink.parts(result.index).rejects for result in results], rejects)
        if not committed:
            sink.discard()
            return RunSummary(tally, (), False, rejects)
        shards = sink.finish(results)
    except BaseException:
        sink.discard()
        raise
    if isinstance(sink, FolderSink):
        _complete(sink, worker, recipe, sources=sources, tally=tally, shards=shards)
    return RunSummary(tally, tuple(shards), True, rejects)


def _complete(
    sink: FolderSink,
    worker: Worker,
    recipe: Recipe,
    *,
    sources: Sequence[str],
    tally: Tally,
    shards: Sequence[Shard],
) -> None:
    tokenizer_files = sink.write_tokenizer(worker.tokenizer, recipe.template)
    sink.write_card({"samples": tally.samples, "tokens": tally.tokens, "trained tokens": tally.trained_tokens})
    sink.write_manifest(
        {
            "format": FORMAT,
            "versions": _versions(),
            "recipe": recipe.as_json(),
            "inputs": list(sources),
            "tokenizer": {"sha256": worker.tokenizer.sha256, "files": tokenizer_files},
            **tally.as_json(),
            "shards": [shard.as_json() for shard in shards],
        }
    )


def _versions() -> dict[str, str]:
    names = ("jinja2", "numpy", "pyarrow", "tokenizers")
    return {
        "ifttool": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _schema_metadata(recipe: Recipe, worker: Worker) -> dict[str, Any]:
    """What a shard says of itself when it is met without its manifest."""
    tokenizer = worker.tokenizer
    return {
        "format": FORMAT,
        "ifttool": __version__,
        "template_sha256": recipe.template_sha256,
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "label_ignore_id": -100,
        "labels_shifted": False,
        "train_on": recipe.train_on,
        "max_length": recipe.max_length,
        "bos_id": tokenizer.id_of(tokenizer.special_tokens.get("bos_token")),
        "eos_id": tokenizer.id_of(tokenizer.special_tokens.get("eos_token")),
        "pad_id": tokenizer.id_of(tokenizer.special_tokens.get("pad_token")),
    }
