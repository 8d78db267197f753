"""What a check says."""

from dataclasses import dataclass
from typing import Any, Literal

from ifttool.errors import RowError

Status = Literal["ok", "info", "warn", "fail"]
"""How much a result matters.

- ``fail``: plain chats lose text or are trained where no server would put the model, or nothing works at all.
- ``warn``: some conversations are affected, or an option of ifttool repairs it.
- ``info``: worth knowing; nothing is wrong.
- ``ok``: looked at and found in order.
"""

SEVERITY: tuple[Status, ...] = ("fail", "warn", "info", "ok")
"""Statuses, worst first."""

Evidence = tuple[tuple[str, str], ...]
"""Labelled excerpts of rendered text, or of what the template said."""

_EXCERPT = 72


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that a check found.

    Attributes:
        name: A stable slug, such as ``end-of-turn`` or ``prompt-opens-reasoning``.
        status: How much it matters.
        finding: What is so, in one sentence.
        evidence: Excerpts that show it.
        advice: What to do about it; empty if there is nothing to do.
    """

    name: str
    status: Status
    finding: str
    evidence: Evidence = ()
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """The result as plain JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "finding": self.finding,
            "evidence": [{"label": label, "text": text} for label, text in self.evidence],
            "advice": self.advice,
        }


def refused(name: str, what: str, error: RowError, *, advice: str) -> CheckResult:
    """A result for what the template refuses; rows like that would be rejected."""
    return CheckResult(name, "warn", f"the template refuses {what}", (("it says", error.message),), advice)


def excerpt(text: str, at: int = 0) -> str:
    """The part of a text around a position; ``…`` stands where something is left out."""
    start = max(0, at - _EXCERPT // 2)
    stop = start + _EXCERPT
    return ("…" if start else "") + text[start:stop] + ("…" if stop < len(text) else "")


def quoted(text: str) -> str:
    """Text in quotes, control characters escaped, cut if it is long."""
    return repr(text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…")
