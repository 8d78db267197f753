"""Checks on trained turns: where they stand, what precedes them and how they end."""

from collections.abc import Iterator
from dataclasses import dataclass

from ifttool.doctor.explain import explain
from ifttool.doctor.explanation import Explanation
from ifttool.doctor.probes import QUESTION, ROUNDS, SINGLE, VERDICT_PROBES, WITH_SYSTEM, Probe
from ifttool.doctor.result import CheckResult, Status, quoted
from ifttool.doctor.subject import Subject
from ifttool.errors import RowError
from ifttool.template.layout import Analysis, TurnLayout
from ifttool.template.turns import Verdict, common_text


def check_renders(subject: Subject) -> Iterator[CheckResult]:
    """Whether plain chats can be rendered at all."""
    for probe in (SINGLE, ROUNDS):
        analysis = subject.analyse(probe)
        if isinstance(analysis, RowError):
            yield CheckResult(
                "renders",
                "fail",
                f"the template refuses a plain chat ({probe.title})",
                (("it says", analysis.message),),
                "set the variables that it needs with --template-kwargs, or use another template",
            )
            return
        if analysis.layout.lost:
            yield CheckResult(
                "renders",
                "warn",
                "the template can't be traced: turns are looked for in its text, and runs are slower",
            )
            return
    yield CheckResult("renders", "ok", "plain chats are rendered")


# -- verdicts ------------------------------------------------------------------------------------------------

_SWITCHABLE = ("prompt-opens-reasoning", "prompt-closes-reasoning", "prompt-white-space")
"""Causes that a template variable for reasoning may do away with."""


@dataclass(slots=True)
class _Cause:
    """Turns of one cause: the first one's explanation, and where all of them are."""

    explanation: Explanation
    probe: Probe
    verdict: Verdict
    places: dict[str, list[int]]


def check_verdicts(subject: Subject) -> Iterator[CheckResult]:
    """Whether what precedes every turn is what a server would feed the model, and if not, why."""
    causes: dict[str, _Cause] = {}
    rendered = False
    for probe in VERDICT_PROBES:
        analysis = subject.analyse(probe)
        if isinstance(analysis, RowError):
            continue
        rendered = True
        for number, turn in enumerate(analysis.layout.turns, start=1):
            if turn.verdict is Verdict.EXACT:
                continue
            why = explain(subject.template, probe.conversation, turn.message, turn.verdict)
            # Two probes can end in one cause with another thing said: gone tools and a gone system prompt.
            cause = causes.setdefault(
                f"{why.cause} {why.finding}" if why.cause.endswith("-context") else why.cause,
                _Cause(why, probe, turn.verdict, {}),
            )
            cause.places.setdefault(probe.title, []).append(number)
    for cause in causes.values():
        yield _verdict_result(subject, cause)
    if rendered and not causes:
        yield CheckResult("turns", "ok", "every turn stands where a server would have put it")


def _verdict_result(subject: Subject, cause: _Cause) -> CheckResult:
    where = "; ".join(f"{title} {', '.join(map(str, turns))}" for title, turns in cause.places.items())
    repairable = cause.verdict is Verdict.HISTORY or not cause.probe.is_plain
    why = cause.explanation
    return CheckResult(
        why.cause,
        "warn" if repairable else "fail",
        f"{why.finding}",
        (*why.evidence, ("turns", where)),
        _proven_advice(subject, cause) or why.advice,
    )


def _proven_advice(subject: Subject, cause: _Cause) -> str:
    """The template's own switch for reasoning, if it makes every turn of the probe exact."""
    if cause.explanation.cause not in _SWITCHABLE:
        return ""
    for name in ("enable_thinking", "thinking"):
        for value in (False, True):
            if name not in subject.template.text or name in subject.recipe.template_kwargs:
                continue
            kwargs = {**subject.recipe.template_kwargs, name: value}
            analysis = subject.altered(template_kwargs=kwargs).analyse(cause.probe)
            if isinstance(analysis, Analysis) and _all_exact(analysis):
                shown = f'{{"{name}": {str(value).lower()}}}'
                return f"--template-kwargs '{shown}' makes these turns exact (and must be set at inference too)"
    return ""


def _all_exact(analysis: Analysis) -> bool:
    return all(turn.verdict is Verdict.EXACT for turn in analysis.layout.turns)


# -- prompt, ending, tags ------------------------------------------------------------------------------------


def check_generation_prompt(subject: Subject) -> Iterator[CheckResult]:
    """Whether there is a generation prompt, and what it is."""
    with_prompt = subject.render([QUESTION], add_generation_prompt=True)
    without = subject.render([QUESTION])
    analysis = subject.analyse(SINGLE)
    if isinstance(with_prompt, RowError) or isinstance(without, RowError) or isinstance(analysis, RowError):
        return
    if with_prompt != without:
        added = with_prompt[common_text(with_prompt, without) :]
        yield CheckResult("generation-prompt", "ok", f"the generation prompt is {quoted(added)}")
        return
    header = _trained_header(analysis)
    if header.strip():
        yield CheckResult(
            "generation-prompt",
            "warn",
            f"the template ignores add_generation_prompt, so that {quoted(header)} is trained in every turn",
            (),
            "harmless if the model is served with this template; else add a generation prompt to a copy of it",
        )
        return
    finding = "there is no generation prompt: add_generation_prompt changes nothing"
    yield CheckResult("generation-prompt", "info", finding)


def _trained_header(analysis: Analysis) -> str:
    """Template text at the start of the first turn's completion."""
    header = []
    for label, text in zip(analysis.layout.labels, analysis.texts, strict=True):
        if label.turn < 0:
            continue
        if label.kind not in ("scaffold", "header"):
            break
        header.append(text)
    return "".join(header)


def check_end_of_turn(subject: Subject) -> Iterator[CheckResult]:
    """Whether turns end in a trained end-of-turn token, and in the same one everywhere."""
    for probe in (ROUNDS, WITH_SYSTEM, SINGLE):
        analysis = subject.analyse(probe)
        if isinstance(analysis, Analysis) and all(turn.runs for turn in analysis.layout.turns):
            break
    else:
        return
    endings = [_ending(analysis, turn) for turn in analysis.layout.turns]
    if not endings[-1]:
        yield CheckResult(
            "end-of-turn",
            "warn",
            "nothing stands after the last turn: the model wouldn't learn to stop",
            (("the text ends in", quoted(analysis.text[-40:])),),
            "--append-eos",
        )
    elif len(set(endings)) > 1:
        odd = next(ending for ending in endings if ending != endings[-1])
        earlier = quoted(odd) if odd else "nothing that is trained"
        yield CheckResult(
            "end-of-turn",
            "warn",
            f"the last turn ends in {quoted(endings[-1])}, earlier turns in {earlier}",
            (),
            "--unroll auto: every turn then ends as the last one does",
        )
    else:
        yield CheckResult("end-of-turn", "ok", f"every turn ends in {quoted(endings[-1])}, which is trained")


def _ending(analysis: Analysis, turn: TurnLayout) -> str:
    start, stop = turn.end_of_turn
    return "".join(analysis.texts[start:stop]).strip()


def check_generation_tags(subject: Subject) -> Iterator[CheckResult]:
    """Whether ``{% generation %}`` tags are there, and mark what the model writes."""
    analysis = next((a for a in map(subject.analyse, (ROUNDS, SINGLE)) if isinstance(a, Analysis)), None)
    if analysis is None:
        return
    blocks = analysis.layout.generated
    if not blocks:
        yield CheckResult(
            "generation-tags",
            "info",
            "no {% generation %} tags: ifttool finds turns without them, others (assistant_only_loss) can't",
        )
        return
    at = analysis.positions()
    marked = {message: (at[low], at[high]) for message, (low, high) in blocks if message is not None}
    status: Status = "ok"
    finding = "{% generation %} tags mark every turn from its generation prompt through its end"
    for turn in analysis.layout.turns:
        problem = _tag_problem(analysis, turn, marked.get(turn.message))
        if problem:
            status, finding = "warn", f"{{% generation %}} tags {problem}"
            break
    advice = "--spans completion trains the completions instead" if status == "warn" else ""
    yield CheckResult("generation-tags", status, finding, (), advice)


def _tag_problem(analysis: Analysis, turn: TurnLayout, marked: tuple[int, int] | None) -> str:
    if not turn.runs or turn.verdict in (Verdict.PROMPT, Verdict.DROPPED):
        return ""  # there is nothing to compare the tags with
    if marked is None:
        return "leave a turn out"
    at = analysis.positions()
    start, stop = at[turn.runs[0][0]], at[turn.runs[-1][1]]
    text = analysis.text
    if marked[0] < start:
        return f"begin inside the generation prompt: {quoted(text[marked[0] : start])} would be trained"
    if marked[0] > start:
        return f"begin late: {quoted(text[start : marked[0]])}, which the model has to write, isn't in them"
    if text[marked[1] : stop].strip():
        return f"end early: {quoted(text[marked[1] : stop])} isn't in them"
    return ""


TURN_CHECKS = (
    check_renders,
    check_verdicts,
    check_generation_prompt,
    check_end_of_turn,
    check_generation_tags,
)


def turn_table(subject: Subject) -> dict[str, list[str] | None]:
    """Verdicts by probe and turn; None where the template refuses the probe."""
    table: dict[str, list[str] | None] = {}
    for probe in VERDICT_PROBES:
        analysis = subject.analyse(probe)
        if isinstance(analysis, RowError):
            table[probe.title] = None
        else:
            table[probe.title] = [turn.verdict.value for turn in analysis.layout.turns]
    return table
