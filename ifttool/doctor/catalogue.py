"""The built-in templates with what they are for and what they can write."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from ifttool.doctor.probes import CALLS, SINGLE, THINKING, WITH_SYSTEM, WITH_TOOLS
from ifttool.doctor.subject import Subject, unprinted
from ifttool.recipe import Recipe
from ifttool.template.layout import Analysis
from ifttool.template.sources import builtin_names, load_template

# The line of a header comment that names the models, up to the next field.
_USED_BY = re.compile(r"^Used by: (.+?)(?=^\w[\w ]*:)", re.MULTILINE | re.DOTALL)
_TAGS = {"system": WITH_SYSTEM, "tools": WITH_TOOLS, "tool-calls": CALLS, "reasoning": THINKING}
_SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@dataclass(frozen=True, slots=True)
class BuiltinEntry:
    """One built-in template.

    Attributes:
        name: Its name.
        used_by: The models it is for, as its header says.
        tags: What it writes of ``system``, ``tools``, ``tool-calls`` and ``reasoning``; and ``generation-tags``.
    """

    name: str
    used_by: str
    tags: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry as plain JSON."""
        return {"name": self.name, "used_by": self.used_by, "tags": list(self.tags)}


def builtin_entries() -> list[BuiltinEntry]:
    """All built-in templates, by name. Tags are found out by rendering, so that they can't be out of date."""
    return [_entry(name) for name in builtin_names()]


def _entry(name: str) -> BuiltinEntry:
    text = load_template(name).text
    used_by = _USED_BY.search(text)
    recipe = Recipe(template=text, template_name=name, tokenizer="default", date=date(2026, 1, 1).isoformat())
    subject = Subject(recipe, _SPECIAL_TOKENS)
    tags = []
    for tag, probe in _TAGS.items():
        analysis = subject.analyse(probe)
        if isinstance(analysis, Analysis):
            gone = unprinted(probe.conversation, analysis)
            # Reasoning of earlier turns may be cut by design.
            if not any(part.message in (-1, 0, probe.turns[-1]) for part in gone):
                tags.append(tag)
    analysis = subject.analyse(SINGLE)
    if isinstance(analysis, Analysis) and analysis.layout.generated:
        tags.append("generation-tags")
    return BuiltinEntry(name, " ".join(used_by[1].split()) if used_by else "", tuple(tags))
