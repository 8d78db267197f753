"""The row ledger: every input line ends as blank, rejected, dropped or kept, and the totals add up."""

import base64
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ifttool.errors import RowError, RunError
from ifttool.records import Place


@dataclass(slots=True)
class SourceLedger:
    """What became of the lines of one input. Mergeable with ``+``.

    Attributes:
        lines: Lines read (rows of Parquet).
        blanks: Lines with nothing on them.
        kept: Rows that gave at least one sample.
        rejected: Rows that couldn't become samples, by code.
        dropped: Rows left out by an option (too long, nothing to train on), by code.
    """

    lines: int = 0
    blanks: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "SourceLedger") -> "SourceLedger":
        return SourceLedger(
            self.lines + other.lines,
            self.blanks + other.blanks,
            self.kept + other.kept,
            self.rejected + other.rejected,
            self.dropped + other.dropped,
        )

    def check(self, source: str) -> None:
        """Assert conservation: no line is lost, none is counted twice.

        Raises:
            RunError: The totals don't add up, which is a defect of ifttool.
        """
        accounted = self.blanks + self.kept + self.rejected.total() + self.dropped.total()
        if accounted != self.lines:
            raise RunError(f"internal error: {source} has {self.lines} lines but {accounted} are accounted for")

    def as_json(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "blanks": self.blanks,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "dropped": dict(sorted(self.dropped.items())),
        }


@dataclass(slots=True)
class Tally:
    """Everything counted in a run or a part of it. Mergeable with ``+``.

    Attributes:
        sources: A ledger for each input.
        samples: Samples written.
        tokens: Tokens in them.
        trained_tokens: Training targets in them.
        samples_dropped: Samples of kept rows that were left out, by code.
        verdicts: Trained turns by verdict.
        findings: How often each 5xx code was met.
        examples: For each verdict other than ``exact`` and each finding, the first place it was met.
    """

    sources: dict[str, SourceLedger] = field(default_factory=dict)
    samples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    samples_dropped: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def of(self, source: str) -> SourceLedger:
        """The ledger of one input, made at first sight."""
        return self.sources.setdefault(source, SourceLedger())

    def note(self, code: str, place: Place, count: int = 1) -> None:
        """Count a finding and remember where it was first met."""
        if count:
            self.findings[code] += count
            self.examples.setdefault(code, str(place))

    def __add__(self, other: "Tally") -> "Tally":
        sources = dict(self.sources)
        for source, ledger in other.sources.items():
            sources[source] = sources.get(source, SourceLedger()) + ledger
        return Tally(
            sources,
            self.samples + other.samples,
            self.tokens + other.tokens,
            self.trained_tokens + other.trained_tokens,
            self.samples_dropped + other.samples_dropped,
            self.verdicts + other.verdicts,
            self.findings + other.findings,
            {**other.examples, **self.examples},
        )

    @property
    def total(self) -> SourceLedger:
        """All inputs together."""
        return sum(self.sources.values(), SourceLedger())

    def check(self) -> None:
        """Assert conservation for each input; see :meth:`SourceLedger.check`."""
        for source, ledger in self.sources.items():
            ledger.check(source)

    def as_json(self) -> dict[str, Any]:
        return {
            "inputs": {source: ledger.as_json() for source, ledger in self.sources.items()},
            "samples": self.samples,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "samples_dropped": dict(sorted(self.samples_dropped.items())),
            "verdicts": dict(sorted(self.verdicts.items())),
            "findings": dict(sorted(self.findings.items())),
            "examples": dict(sorted(self.examples.items())),
        }


def reject_record(place: Place, data: bytes | None, error: RowError, *, kind: str) -> dict[str, Any]:
    """One line of ``rejects.jsonl``. ``raw_b64`` gives the original bytes back; it is null for over-long lines."""
    return {
        "kind": kind,
        "file": place.source,
        "line": place.line,
        "byte_start": place.byte_start,
        "byte_len": place.byte_len,
        "code": error.code,
        "path": error.path,
        "message": error.message,
        "hint": error.hint,
        "raw_b64": None if data is None else base64.b64encode(data).decode("ascii"),
    }
