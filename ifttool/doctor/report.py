"""A diagnosis as plain text."""

import textwrap
from collections.abc import Iterator, Sequence

from ifttool.doctor.diagnosis import Diagnosis
from ifttool.doctor.result import SEVERITY, CheckResult
from ifttool.doctor.survey import Survey
from ifttool.io.inputs import printable
from ifttool.report.text import number, percent, table

_WIDTH = 100
_INDENT = 6  # as wide as the column of statuses


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """The diagnosis for a terminal or a log: no markup, and data with its control characters escaped."""
    lines = [f"template {printable(diagnosis.template)}  sha256 {diagnosis.sha256[:12]}", ""]
    lines += _turn_lines(diagnosis.turns)
    lines.append("")
    lines += _result_lines(diagnosis.results)
    if diagnosis.survey is not None:
        lines += ["", *_survey_lines(diagnosis.survey), *_result_lines(diagnosis.data_results)]
    lines += ["", _total((*diagnosis.results, *diagnosis.data_results))]
    return "\n".join(lines) + "\n"


def _turn_lines(turns: dict[str, list[str] | None]) -> list[str]:
    """A table of verdicts: one line a probe, one column a turn."""
    columns = max((len(verdicts) for verdicts in turns.values() if verdicts), default=1)
    rows = [["turns", *(str(column) for column in range(1, columns + 1))]]
    for title, verdicts in turns.items():
        cells = ["refused"] if verdicts is None else verdicts
        rows.append([title, *cells, *[""] * (columns - len(cells))])
    return table(rows, left=frozenset(range(columns + 1)))


def _result_lines(results: Sequence[CheckResult]) -> Iterator[str]:
    for result in results:
        yield from _wrapped(f"{result.status:<4}  ", f"{result.name}: {result.finding}")
        if result.status == "ok":
            continue
        width = max((len(label) for label, _ in result.evidence), default=0)
        for label, text in result.evidence:
            yield f"{'':{_INDENT}}  {label:<{width}}  {printable(text)}"
        if result.advice:
            yield from _wrapped(f"{'':{_INDENT}}→ ", result.advice)


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        width=_WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _survey_lines(survey: Survey) -> list[str]:
    rows = "1 row" if survey.rows == 1 else f"{number(survey.rows)} rows"
    lines = [f"your data: {rows}, {number(survey.turns)} trained turns"]
    counts = sorted(survey.verdicts.items(), key=lambda item: -item[1])
    if counts:
        lines += table([[f"  {name}", number(count), percent(count / survey.turns)] for name, count in counts])
    return lines


def _total(results: Sequence[CheckResult]) -> str:
    counts = {status: sum(result.status == status for result in results) for status in SEVERITY}
    return ", ".join(f"{count} {status}" for status, count in counts.items())
