"""Checks on markers, the beginning of sequence, the tokenizer and the clock."""

from collections.abc import Iterator
from dataclasses import dataclass

from ifttool.doctor.probes import CALLS, QUESTION, ROUNDS, SINGLE, THINKING, WITH_SYSTEM
from ifttool.doctor.result import CheckResult, excerpt, quoted
from ifttool.doctor.subject import Subject
from ifttool.errors import RowError
from ifttool.template.layout import Analysis
from ifttool.template.turns import MARKER, common_text
from ifttool.tokenizer.load import Tokenizer, token_added_in_front

# Two days that differ in every field a template may print.
_DAYS = ("2001-02-03T04:05:06", "2027-11-28T19:48:57")


def check_clock(subject: Subject) -> Iterator[CheckResult]:
    """Whether the text depends on the day."""
    if "strftime_now" not in subject.template.text:
        yield CheckResult("clock", "ok", "the text doesn't depend on the day")
        return
    first, second = (subject.altered(date=day) for day in _DAYS)
    for probe in (SINGLE, WITH_SYSTEM, CALLS):
        messages, tools = probe.conversation.messages, probe.conversation.tools
        one, other = first.render(messages, tools), second.render(messages, tools)
        if isinstance(one, RowError) or isinstance(other, RowError) or one == other:
            continue
        yield CheckResult(
            "clock",
            "warn",
            "the text depends on the day on which it is made",
            (("it writes", excerpt(other, common_text(one, other))),),
            "--date 2026-01-31 pins the day (else it is today, and recorded)",
        )
        return
    yield CheckResult("clock", "info", "the template can read the clock; the probes don't make it", (), "pin --date")


def check_bos(subject: Subject) -> Iterator[CheckResult]:
    """Whether the beginning of sequence is written, and how often."""
    bos = subject.special_tokens.get("bos_token")
    analysis = subject.analyse(ROUNDS)
    if not bos or isinstance(analysis, RowError):
        return
    text = "".join(_template_texts(analysis))
    if analysis.text.startswith(bos + bos):
        finding = f"the beginning of sequence is written twice: {quoted(analysis.text[: 2 * len(bos)])}"
        advice = "take one of them out of a copy: --template FILE"
        yield CheckResult("bos", "fail", finding, (), advice)
    elif not analysis.text.startswith(bos):
        yield CheckResult("bos", "info", "no beginning of sequence is written")
    elif text.count(bos) > 1:
        yield CheckResult("bos", "info", f"{bos} is written {text.count(bos)} times in a chat of three rounds")
    else:
        yield CheckResult("bos", "ok", f"the template begins with {bos}, once")


TEMPLATE_TOKEN_CHECKS = (check_bos, check_clock)


# -- with a tokenizer ----------------------------------------------------------------------------------------


def check_added_tokens(subject: Subject, tokenizer: Tokenizer) -> Iterator[CheckResult]:
    """Whether the tokenizer adds a beginning of sequence to one that is in the text already."""
    analysis = subject.analyse(ROUNDS)
    if isinstance(analysis, RowError):
        return
    added = token_added_in_front(tokenizer.name)
    if added is None:
        finding = "the tokenizer puts nothing in front of a text"
        yield CheckResult("tokenizer-bos", "ok", finding)
    elif analysis.text.startswith(added):
        yield CheckResult(
            "tokenizer-bos",
            "info",
            f"the template writes {added} and the tokenizer would add another; ifttool encodes without adding",
            (),
            "encode with add_special_tokens=False where you tokenize rendered text yourself",
        )
    else:
        yield CheckResult(
            "tokenizer-bos",
            "warn",
            f"the tokenizer puts {added} in front of a text, the template doesn't: shards will have none",
            (),
            "check how the model is served; if with it, write bos_token in a copy of the template",
        )


@dataclass(frozen=True, slots=True)
class _Markers:
    """What looks like control tokens in the template's own text."""

    closing: tuple[str, ...]
    others: tuple[str, ...]


def check_markers(subject: Subject, tokenizer: Tokenizer) -> Iterator[CheckResult]:
    """Whether the tokenizer knows the template's markers as one token each."""
    markers = _markers(subject)
    closing = [marker for marker in markers.closing if tokenizer.id_of(marker) is None]
    others = [marker for marker in markers.others if tokenizer.id_of(marker) is None]
    if closing:
        yield CheckResult(
            "tokenizer-markers",
            "fail",
            f"the tokenizer doesn't know {', '.join(closing)}, which ends turns: "
            "it would be cut into pieces of plain text",
            (),
            "use the model's own template and tokenizer together, or --allow-text-markers if it is plain text",
        )
    if others:
        finding = f"the tokenizer doesn't know these markers as one token: {', '.join(others[:8])}"
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        yield CheckResult("tokenizer-markers", "warn", finding + more, (), "check that they are plain text")
    if not closing and not others:
        count = len(markers.closing) + len(markers.others)
        finding = f"all {count} markers of the template are tokens" if count else "the template has no markers"
        yield CheckResult("tokenizer-markers", "ok", finding)


def _markers(subject: Subject) -> _Markers:
    closing: dict[str, None] = {}
    others: dict[str, None] = {}
    for probe in (ROUNDS, SINGLE, WITH_SYSTEM, THINKING):
        analysis = subject.analyse(probe)
        if isinstance(analysis, RowError):
            continue
        for turn in analysis.layout.turns:
            start, stop = turn.end_of_turn
            closing.update(dict.fromkeys(MARKER.findall("".join(analysis.texts[start:stop]))))
        others.update(dict.fromkeys(MARKER.findall("".join(_template_texts(analysis)))))
    prompt = subject.render([QUESTION], add_generation_prompt=True)
    if isinstance(prompt, str):
        others.update(dict.fromkeys(MARKER.findall(prompt)))
    return _Markers(tuple(closing), tuple(marker for marker in others if marker not in closing))


def _template_texts(analysis: Analysis) -> Iterator[str]:
    """The template's own texts; a gap stands where data does."""
    for label, text in zip(analysis.layout.labels, analysis.texts, strict=True):
        yield text if label.message < 0 or label.kind == "header" else "\0"


TOKENIZER_CHECKS = (check_added_tokens, check_markers)
