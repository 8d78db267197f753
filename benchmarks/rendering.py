"""Rendering alone: plans beside Jinja, both in this process, with turns found on the side of the plans.

python -m benchmarks.rendering [--quick]
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from benchmarks import data
from benchmarks.common import Options, Result, script
from ifttool.errors import RowError
from ifttool.formats import to_conversation
from ifttool.formats.plain import read_plain_chats
from ifttool.io.json_structure import KeyCounter
from ifttool.memory import tune_process
from ifttool.records import Conversation, Place, PlainChat, RawRow
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate, aliased
from ifttool.template.plan import Plan
from ifttool.template.sources import load_template

TEMPLATES = ("chatml", "qwen3", "llama-3", "deepseek-r1-distill", "hermes")
KINDS = ("english", "chinese", "tools", "agents")
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CLOCK = datetime(2026, 1, 15)
TARGET = ("qwen3", ("english", "chinese"))


class _GenerationTag(jinja2.ext.Extension):
    tags = {"generation"}  # noqa: RUF012 - the attribute jinja2 declares

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _jinja(text: str) -> jinja2.Template:
    """The template with nothing around it: the environment that transformers compiles chat templates in."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **({"ensure_ascii": False} | options))
    environment.globals |= {"raise_exception": _refuse, "strftime_now": CLOCK.strftime}
    return environment.from_string(text)


@dataclass(frozen=True, slots=True)
class Case:
    """One conversation, ready for both sides; ``chat`` is what the worker reads of a plain one."""

    conversation: Conversation
    chat: PlainChat | None
    turns: tuple[int, ...]
    variables: dict[str, Any]


Render = Callable[[Case], str]


@cache
def _cases(kind: str, options: Options) -> list[Case]:
    """Conversations spread evenly over the data."""
    rows = list(data.dataset(kind, options).rows())
    full = {"tools": 500, "agents": 60}.get(kind, len(rows))
    wanted = options.pick(full=full, quick=20 if kind == "agents" else 400, tiny=8)
    found = []
    for row in rows[:: max(1, len(rows) // wanted)]:
        conversation = to_conversation(row, input_format="messages", tool_arguments="object")
        turns = tuple(index for index, message in enumerate(conversation.messages) if message["role"] == "assistant")
        variables = {
            **SPECIAL_TOKENS,
            "messages": aliased(conversation.messages),
            "tools": conversation.tools,
            "documents": None,
            "add_generation_prompt": False,
        }
        found.append(Case(conversation, _plain(row), turns, variables))
    return found


def _plain(row: dict[str, Any]) -> PlainChat | None:
    line = json.dumps(row, ensure_ascii=False).encode()
    keys, heads = KeyCounter().count(line + b"\n")
    raw = RawRow(Place("", 1, 0, len(line)), line, most_keys=keys[0], role_heads=heads[0])
    return next(read_plain_chats([raw]))


def _jinja_side(text: str) -> Render:
    template = _jinja(text)
    return lambda case: template.render(case.variables)


def _plans_side(text: str) -> Render:
    """As the worker does it: by a plan or from segments, else by a trace."""
    analyser = Analyser(_chat_template(text))
    plans_of: dict[tuple[str, ...], Sequence[Plan]] = {}

    def render(case: Case) -> str:
        if (chat := case.chat) is not None:
            plans = plans_of.get(chat.roles)
            if plans is None and (plans := analyser.plain_plans(chat.roles, case.turns)) is not None:
                plans_of[chat.roles] = plans
            for plan in plans or ():
                if (printer := plan.printer) is not None and (text := printer(chat.contents)) is not None:
                    return text
        return (
            analyser.assemble(case.conversation, case.turns) or analyser.analyse(case.conversation, case.turns)
        ).text

    return render


def _timed(work: Callable[[], Render], cases: Sequence[Case]) -> tuple[float, Render]:
    """Seconds to make a side ready and to render all conversations, whose texts aren't kept: neither does a run."""
    start = time.process_time()
    render = work()
    for case in cases:
        render(case)
    return time.process_time() - start, render


def _accepted(text: str, cases: Sequence[Case]) -> list[Case]:
    """The conversations that a template doesn't refuse: some know no system message, or want roles to alternate."""
    template = _chat_template(text)
    kept = []
    for case in cases:
        try:
            template.render(case.conversation.messages, case.conversation.tools)
        except RowError:
            continue
        kept.append(case)
    return kept


def _chat_template(text: str) -> ChatTemplate:
    return ChatTemplate(text, name="benchmark", special_tokens=SPECIAL_TOKENS, clock=CLOCK)


def measure(name: str, kind: str, options: Options) -> tuple[int, float, float, float]:
    """Conversations, and median seconds: Jinja; plans from nothing; the same conversations again.

    Raises:
        RuntimeError: The two don't give the same texts.
    """
    text = load_template(name).text
    cases = _accepted(text, _cases(kind, options))
    times: list[tuple[float, float, float]] = []
    for _ in range(options.repeats):
        jinja, by_jinja = _timed(lambda: _jinja_side(text), cases)
        first, by_plans = _timed(lambda: _plans_side(text), cases)
        again, _ = _timed(lambda: by_plans, cases)  # noqa: B023 - called at once
        if any(by_plans(case) != by_jinja(case) for case in cases):
            raise RuntimeError(f"{name} on {kind}: other texts than Jinja's")
        times.append((jinja, first, again))
    jinja, first, again = (statistics.median(column) for column in zip(*times, strict=True))
    return len(cases), jinja, first, again


def body(options: Options, result: Result) -> None:
    tune_process()  # both sides
    rows = []
    for name in TEMPLATES:
        for kind in KINDS if options.size != "tiny" else ("english", "tools"):
            count, jinja, first, again = measure(name, kind, options)
            if not count:
                continue
            micro = [1e6 * seconds / count for seconds in (jinja, first, again)]
            rows.append([name, kind, count, *micro, f"{jinja / first:.1f}", f"{jinja / again:.1f}"])
            if name == TARGET[0] and kind in TARGET[1]:
                target = f"rendering {kind}: times as fast as Jinja, Qwen3's template"
                result.check(target, limit=20, measured=jinja / first)
                result.check(f"{target}, learnt", limit=20, measured=jinja / again)
    result.table(
        "Rendering alone, microseconds a conversation",
        ["template", "data", "conversations", "Jinja", "plans", "plans, again", "ratio", "ratio, again"],
        rows,
        note=f"Data: {data.origin(options)}; CPU time of one process. *plans* (and segments) start from nothing, so "
        "this has all tracing and compiling in it; *again* is the same conversations once more. Both with all turns "
        "located, which Jinja doesn't do. Plans get plain chats as the typed messages that their rows are decoded "
        "into, Jinja as dicts; neither side decodes here. Texts are compared.",
    )


if __name__ == "__main__":
    script("rendering", __doc__, body)
