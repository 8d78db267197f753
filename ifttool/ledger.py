"""The row ledger: every input line ends as blank, rejected, dropped or kept, and the totals add up."""

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ifttool.errors import RowError, RunError
from ifttool.records import Place

if TYPE_CHECKING:
    from ifttool.template.turns import Verdict

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


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

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "SourceLedger":
        """What :meth:`as_json` gave; raises KeyError or TypeError if it isn't that."""
        return cls(
            plain["lines"],
            plain["blanks"],
            plain["kept"],
            Counter(plain["rejected"]),
            Counter(plain["dropped"]),
        )

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
        messages: Messages of kept rows by role (unrolled rows: up to the last trained turn); roles that aren't
            standard count as ``other``.
        samples_dropped: Samples of kept rows that were left out, by code.
        verdicts: Trained turns by verdict.
        findings: How often each 5xx code was met.
        examples: For each verdict other than ``exact`` and each finding, the first place it was met.
        renders: How samples were rendered: by ``plan``, from ``segments``, or by ``trace`` and why not otherwise. Not
            part of the JSON, since it depends on which rows a worker has seen before.
    """

    sources: dict[str, SourceLedger] = field(default_factory=dict)
    samples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    samples_dropped: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    renders: Counter[str] = field(default_factory=Counter, compare=False)

    def count_messages(self, roles: Mapping[str, int]) -> None:
        """Count messages of kept rows by role. Names of roles come from the data: only known ones become keys."""
        for role, times in roles.items():
            self.messages[role if role in _ROLES else "other"] += times

    def count_turns(self, turn: "tuple[Verdict, bool]", times: int, place: Place) -> None:
        """Count located turns of one verdict that end in an end-of-turn token, or don't; the first is at ``place``."""
        verdict, ends = turn
        self.verdicts[verdict.value] += times
        if verdict.code is not None:
            self.note(verdict.code, place, times)
        if not ends:
            self.note("IFT504", place, times)

    def of(self, source: str) -> SourceLedger:
        """The ledger of one input, made at first sight."""
        ledger = self.sources.get(source)
        if ledger is None:  # not `setdefault`: it would make a ledger for every row, 8% of a run on short chats
            ledger = self.sources[source] = SourceLedger()
        return ledger

    def note(self, code: str, place: Place, count: int = 1) -> None:
        """Count a finding and remember where it was first met."""
        if count:
            self.findings[code] += count
            if code not in self.examples:
                self.examples[code] = str(place)

    def __add__(self, other: "Tally") -> "Tally":
        sources = dict(self.sources)
        for source, ledger in other.sources.items():
            sources[source] = sources.get(source, SourceLedger()) + ledger
        return Tally(
            sources,
            self.samples + other.samples,
            self.tokens + other.tokens,
            self.trained_tokens + other.trained_tokens,
            self.messages + other.messages,
            self.samples_dropped + other.samples_dropped,
            self.verdicts + other.verdicts,
            self.findings + other.findings,
            {**other.examples, **self.examples},
            self.renders + other.renders,
        )

    @property
    def total(self) -> SourceLedger:
        """All inputs together."""
        return sum(self.sources.values(), SourceLedger())

    def check(self) -> None:
        """Assert conservation for each input; see :meth:`SourceLedger.check`."""
        for source, ledger in self.sources.items():
            ledger.check(source)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Tally":
        """What :meth:`as_json` gave; raises KeyError, TypeError or AttributeError if it isn't that."""
        return cls(
            {source: SourceLedger.from_json(ledger) for source, ledger in plain["inputs"].items()},
            plain["samples"],
            plain["tokens"],
            plain["trained_tokens"],
            Counter(plain["messages"]),
            Counter(plain["samples_dropped"]),
            Counter(plain["verdicts"]),
            Counter(plain["findings"]),
            dict(plain["examples"]),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "inputs": {source: ledger.as_json() for source, ledger in self.sources.items()},
            "samples": self.samples,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "messages": dict(sorted(self.messages.items())),
            "samples_dropped": dict(sorted(self.samples_dropped.items())),
            "verdicts": dict(sorted(self.verdicts.items())),
            "findings": dict(sorted(self.findings.items())),
            "examples": dict(sorted(self.examples.items())),
        }


def reject_line(place: Place, data: bytes | None, error: RowError, *, kind: str) -> bytes:
    """One line of ``rejects.jsonl``. ``raw_b64`` gives the original bytes back; it is null for over-long lines."""
    record = {
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
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
