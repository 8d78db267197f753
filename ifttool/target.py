"""Where shards go: a folder or one file, their format and their columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from ifttool.arranging.phase import check_arrangement
from ifttool.arranging.spec import Arrangement
from ifttool.errors import UsageError
from ifttool.io.atomic import REFUSED
from ifttool.io.inputs import STDIN, printable, refuse_unwritable
from ifttool.io.places import check_written, is_inside
from ifttool.layouts import COLUMNS
from ifttool.output import FileSink, FolderSink, Sink, listed_rejects
from ifttool.shards import FileFormat

# Nobody who writes such a name means a folder.
_OTHER_FORMATS = frozenset({".jsonl", ".json", ".txt", ".csv", ".gz", ".zst", ".bin", ".npy"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where shards go.

    Attributes:
        path: A folder, or one file if its suffix is ``.parquet`` or ``.arrow``.
        file_format: Parquet or Arrow IPC; the suffix decides for a single file.
        columns: Training columns, in order.
        layout: The layout whose columns they are, of :data:`ifttool.layouts.LAYOUTS`; None for a free choice.
        force: Replace an earlier output.
    """

    path: Path
    file_format: FileFormat = "parquet"
    columns: tuple[str, ...] = COLUMNS
    layout: str | None = None
    force: bool = False

    @classmethod
    def of(
        cls,
        path: Path,
        *,
        file_format: str,
        columns: tuple[str, ...] = COLUMNS,
        layout: str | None = None,
        force: bool = False,
    ) -> "Target":
        """A target from options.

        Raises:
            UsageError: There is no such format, the name is that of another kind of file, or shards were to go to
                standard output.
        """
        if str(path) == "-":
            raise UsageError("shards can't go to standard output", hint="give -o a folder, or a .parquet file")
        if path.suffix in _OTHER_FORMATS and not path.is_dir():
            raise UsageError(f"shards can't be written as {path.suffix}", hint="give -o a folder, or a .parquet file")
        if file_format not in get_args(FileFormat):
            raise UsageError(f"--format can't be {file_format!r}", hint="choose parquet or arrow")
        # The other way round nobody can tell: parquet is what --format is if it isn't given.
        if file_format == "arrow" and path.suffix == ".parquet":
            raise UsageError(f"--format arrow and -o {path} contradict each other", hint="name the file .arrow")
        return cls(path, cast(FileFormat, file_format), columns, layout, force)

    @property
    def is_file(self) -> bool:
        return self.path.suffix in (".parquet", ".arrow")

    @property
    def rejects(self) -> Path:
        """Where rows that were left out go: into the folder, or beside the file."""
        return listed_rejects(self.path)

    def as_json(self) -> dict[str, Any]:
        """What of it decides the bytes, for the manifest: not where they go."""
        return {"format": self.file_format, "columns": list(self.columns), "layout": self.layout}

    def check(self, sources: Sequence[str], arrangement: Arrangement) -> None:
        """Refuse what can't be written here, or would be written over an input, before anything is written.

        Raises:
            UsageError: The file, or what lies beside it, is an input, or the folder holds one; its name isn't
                UTF-8; or see :func:`ifttool.arranging.phase.check_arrangement`.
        """
        check_arrangement(arrangement, sources, is_file=self.is_file)
        refuse_unwritable(str(self.path))
        if self.is_file:
            refused = self.path.with_name(f"{self.path.stem}.{REFUSED}")
            places = {"-o": self.path, "the list of rejected rows": self.rejects, "that of a refused run": refused}
            check_written(places, sources)
            return
        for source in sources:
            if source != STDIN and is_inside(source, self.path):
                raise UsageError(
                    f"the output folder {printable(str(self.path))} holds the input {printable(source)}",
                    hint="choose another folder",
                )

    def open(self, *, staged: bool = False, keep: bool = False) -> Sink:
        """Prepare the place. ``staged``: parts are to be arranged before they are shards.

        Raises:
            UsageError: Something is there already and ``force`` isn't set.
        """
        if not self.is_file:
            return FolderSink(self.path, file_format=self.file_format, force=self.force, staged=staged, keep=keep)
        suffix: FileFormat = "parquet" if self.path.suffix == ".parquet" else "arrow"
        return FileSink(self.path, file_format=suffix, force=self.force, staged=staged)
