"""The examination as a whole: every check on one template, and what it does to given rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ifttool.doctor.content_checks import CONTENT_CHECKS
from ifttool.doctor.result import SEVERITY, CheckResult
from ifttool.doctor.subject import Subject
from ifttool.doctor.survey import Survey, survey_results, survey_rows
from ifttool.doctor.token_checks import TEMPLATE_TOKEN_CHECKS, TOKENIZER_CHECKS
from ifttool.doctor.tool_checks import TOOL_CHECKS
from ifttool.doctor.turn_checks import TURN_CHECKS, turn_table
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.tokenizer.load import Tokenizer

TEMPLATE_CHECKS = (*TURN_CHECKS, *CONTENT_CHECKS, *TOOL_CHECKS, *TEMPLATE_TOKEN_CHECKS)
"""Checks that need nothing but the template."""

DEFAULT_LIMIT = 1000
"""How many rows are looked at."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about a template.

    Attributes:
        template: What the template is called.
        sha256: Hex digest of its text.
        turns: Verdicts of the probes, by probe and turn; None for a probe that the template refuses.
        results: What the checks say, worst first.
        survey: Counts over the user's rows; None if none were given.
        data_results: What those counts mean, worst first.
    """

    template: str
    sha256: str
    turns: dict[str, list[str] | None]
    results: tuple[CheckResult, ...]
    survey: Survey | None
    data_results: tuple[CheckResult, ...]

    @property
    def has_failed(self) -> bool:
        """Whether anything is so wrong that a build should stop."""
        return any(result.status == "fail" for result in (*self.results, *self.data_results))

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as plain JSON."""
        plain: dict[str, Any] = {
            "template": self.template,
            "sha256": self.sha256,
            "ok": not self.has_failed,
            "turns": self.turns,
            "checks": [result.as_json() for result in self.results],
        }
        if self.survey is not None:
            results = [result.as_json() for result in self.data_results]
            plain["data"] = {**self.survey.as_json(), "checks": results}
        return plain


def diagnose(
    recipe: Recipe,
    *,
    special_tokens: dict[str, str],
    tokenizer: Tokenizer | None = None,
    rows: Iterable[tuple[RawRow, Conversation]] | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Diagnosis:
    """Examine a template before anything is trained on it.

    Args:
        recipe: Names the template, its kwargs and its clock.
        special_tokens: What the template may read as ``bos_token``, ``eos_token``…
        tokenizer: The tokenizer that goes with the template; None leaves out the checks that need one.
        rows: The user's own conversations, if any.
        limit: How many of them to look at.

    Raises:
        TemplateError: The template doesn't compile.
        InputChanged: An input of ``rows`` is damaged.
    """
    subject = Subject(recipe, special_tokens)
    results = [result for check in TEMPLATE_CHECKS for result in check(subject)]
    if tokenizer is not None:
        results += [result for check in TOKENIZER_CHECKS for result in check(subject, tokenizer)]
    survey = None
    if rows is not None:
        survey = survey_rows(subject.template, rows, selection=recipe.selection, limit=limit)
    return Diagnosis(
        template=recipe.template_name,
        sha256=recipe.template_sha256,
        turns=turn_table(subject),
        results=_ranked(results),
        survey=survey,
        data_results=() if survey is None else _ranked(survey_results(survey)),
    )


def _ranked(results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    return tuple(sorted(results, key=lambda result: SEVERITY.index(result.status)))
