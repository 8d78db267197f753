"""What verification found."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that isn't what the manifest or the inputs say.

    Attributes:
        kind: ``file``, ``content``, ``counts`` or ``row``.
        path: The file of the output, relative to its folder.
        message: What differs.
        row: Row of the shard, from 1.
        source: Input file of the row, as recorded.
        line: Line of the input file.
        token: First token of the row that differs, from 0.
    """

    kind: str
    path: str
    message: str
    row: int | None = None
    source: str | None = None
    line: int | None = None
    token: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Report:
    """The outcome of a verification.

    Attributes:
        files: Files whose digest was checked.
        packs: Packs in the shards; 0 if they aren't packed.
        rows: Samples in the shards.
        sampled: Samples that were to be derived again, or looked up in the shards they were packed from.
        compared: Of these, those whose input was there to be compared with.
        differences: What differs, in the order of the files.
        unverified: Why rows couldn't be compared, one sentence a reason.
        notes: What else to know.
    """

    files: int = 0
    packs: int = 0
    rows: int = 0
    sampled: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, path: str, message: str, **place: Any) -> None:
        """Take in a difference; ``place`` are further fields of :class:`Difference`."""
        self.differences.append(Difference(kind, path, message, **place))

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for could be checked."""
        return not self.unverified and self.compared == self.sampled

    @property
    def is_verified(self) -> bool:
        """Whether everything that was asked for was checked and nothing differs."""
        return self.is_complete and not self.differences

    def as_json(self) -> dict[str, Any]:
        return {"verified": self.is_verified, "complete": self.is_complete, **asdict(self)}
