"""What a template does to the user's own rows: verdicts, refusals and lost text, counted."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from ifttool.doctor.explain import explain
from ifttool.doctor.explanation import Explanation
from ifttool.doctor.result import CheckResult, Status
from ifttool.doctor.subject import unprinted
from ifttool.errors import RowError
from ifttool.records import Conversation, Place, RawRow
from ifttool.selection import Selection
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Layout
from ifttool.template.turns import Verdict


@dataclass(slots=True)
class Tallied:
    """How often something was met, in turns or rows, and what it was at first."""

    first: Place
    count: int = 0


@dataclass(slots=True)
class Survey:
    """Counts over the rows that were looked at.

    Attributes:
        rows: Conversations read.
        turns: Trained turns of the conversations that the template rendered.
        verdicts: Number of turns by verdict.
        causes: Turns by cause of their verdict.
        refusals: Rows that the template refuses, by code and message.
        unprinted: Rows with text that the template leaves out, by role and part.
        explanations: The first explanation of each cause.
    """

    rows: int = 0
    turns: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    causes: dict[str, Tallied] = field(default_factory=dict)
    refusals: dict[tuple[str, str], Tallied] = field(default_factory=dict)
    unprinted: dict[tuple[str, str], Tallied] = field(default_factory=dict)
    explanations: dict[str, Explanation] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The counts as plain JSON. What they mean is in the check results."""
        return {
            "rows": self.rows,
            "refused": sum(met.count for met in self.refusals.values()),
            "turns": self.turns,
            "verdicts": dict(sorted(self.verdicts.items())),
            "causes": {cause: met.count for cause, met in sorted(self.causes.items())},
        }


def survey_rows(
    template: ChatTemplate, rows: Iterable[tuple[RawRow, Conversation]], *, selection: Selection, limit: int
) -> Survey:
    """Analyse conversations and count what becomes of them.

    Args:
        template: The template.
        rows: Conversations with their rows.
        selection: Which turns are trained.
        limit: How many to look at.
    """
    survey = Survey()
    analyser = Analyser(template)
    # Rows of one shape have one layout, and one reason for it.
    known: WeakKeyDictionary[Layout, dict[int, Explanation]] = WeakKeyDictionary()
    for row, conversation in islice(rows, limit):
        survey.rows += 1
        turns = selection.turns(conversation)
        try:
            analysis = analyser.analyse(conversation, turns)
        except RowError as error:
            _count(survey.refusals, (error.code, error.message), row.place)
            continue
        survey.turns += len(turns)
        missing = {
            ("tools" if part.message < 0 else str(conversation.messages[part.message]["role"]), part.part)
            for part in unprinted(conversation, analysis)
        }
        for role_and_part in missing:
            _count(survey.unprinted, role_and_part, row.place)
        explained = known.setdefault(analysis.layout, {})
        for turn in analysis.layout.turns:
            survey.verdicts[turn.verdict.value] = survey.verdicts.get(turn.verdict.value, 0) + 1
            if turn.verdict is Verdict.EXACT:
                continue
            if turn.message not in explained:
                explained[turn.message] = explain(template, conversation, turn.message, turn.verdict)
            why = explained[turn.message]
            survey.explanations.setdefault(why.cause, why)
            _count(survey.causes, why.cause, row.place)
    return survey


def _count(counts: dict[Any, Tallied], key: Any, place: Place) -> None:
    counts.setdefault(key, Tallied(place)).count += 1


def survey_results(survey: Survey) -> list[CheckResult]:
    """What the counts mean, most frequent first."""
    return [
        *_refusal_results(survey),
        *(_cause_result(survey, cause, met) for cause, met in _ranked(survey.causes)),
        *(_loss_result(role, part, met) for (role, part), met in _ranked(survey.unprinted)),
    ]


def _ranked(counts: dict[Any, Tallied]) -> list[tuple[Any, Tallied]]:
    return sorted(counts.items(), key=lambda item: -item[1].count)


def _refusal_results(survey: Survey) -> list[CheckResult]:
    all_refused = sum(met.count for met in survey.refusals.values()) == survey.rows
    status: Status = "fail" if all_refused else "warn"
    return [
        CheckResult(
            "data-refused",
            status,
            f"{_rows(met.count)} would be rejected with {code}",
            (("first", str(met.first)), ("reason", message)),
            "--max-rejects allows some; or change the rows, or use another template",
        )
        for (code, message), met in _ranked(survey.refusals)
    ]


def _cause_result(survey: Survey, cause: str, met: Tallied) -> CheckResult:
    why = survey.explanations[cause]
    status: Status = "warn" if cause.startswith(Verdict.HISTORY.value) else "fail"
    turns = "1 turn" if met.count == 1 else f"{met.count:,} turns"
    return CheckResult(
        f"data-{cause}", status, f"{turns}: {why.finding}", (("first", str(met.first)), *why.evidence), why.advice
    )


def _loss_result(role: str, part: str, met: Tallied) -> CheckResult:
    what = "the list of tools" if role == "tools" else f"{part} of {role} messages"
    # Templates cut reasoning of earlier turns by design; the verdicts say where that matters.
    status: Status = "warn" if part == "reasoning" else "fail"
    return CheckResult(
        "data-unprinted",
        status,
        f"{_rows(met.count)} {'has' if met.count == 1 else 'have'} text that isn't written: {what}",
        (("first", str(met.first)),),
        "use a template that writes it, or take it out of the rows",
    )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
