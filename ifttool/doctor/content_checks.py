"""Checks on contents: what a template leaves out, adds, changes or refuses."""

import re
from collections.abc import Iterator

from ifttool.doctor.probes import (
    INLINE,
    ODD_ROLES,
    PADDED,
    REASONING,
    ROUNDS,
    SYSTEM,
    THINKING,
    WITH_SYSTEM,
)
from ifttool.doctor.result import CheckResult, Evidence, excerpt, quoted, refused
from ifttool.doctor.subject import Subject, lost, unprinted
from ifttool.errors import RowError
from ifttool.records import Conversation, Message
from ifttool.template.layout import Analysis

# A role header may have a few words ("GPT4 Correct User: "); a prompt has more letters than that.
_PROSE_LETTERS = 24
_LETTER = re.compile(r"[^\W\d_]")


# -- system prompts ------------------------------------------------------------------------------------------


def check_system_prompt(subject: Subject) -> Iterator[CheckResult]:
    """Whether the row's system prompt is written."""
    analysis = subject.analyse(WITH_SYSTEM)
    if isinstance(analysis, RowError):
        if isinstance(subject.analyse(ROUNDS), Analysis):
            advice = "put its text into the first user message, or use a template that has system messages"
            yield refused("system-prompt", "system messages", analysis, advice=advice)
        return
    if 0 not in lost(analysis, WITH_SYSTEM.conversation, "content"):
        yield CheckResult("system-prompt", "ok", "the system prompt is written")
        return
    asked = Conversation(WITH_SYSTEM.conversation.messages[:2])
    question = subject.try_analyse(asked)
    only_last = isinstance(question, Analysis) and not lost(question, asked, "content")
    finding = "the system prompt is left out without a word"
    if only_last:
        finding += " unless a user message comes last: servers send it, training never sees it"
    yield CheckResult(
        "system-prompt",
        "fail",
        finding,
        (("the text starts", excerpt(analysis.text)),),
        "put its text into the first user message, or use a template that writes it",
    )


def check_default_system_prompt(subject: Subject) -> Iterator[CheckResult]:
    """Whether the template writes a system prompt of its own."""
    plain, with_system = subject.analyse(ROUNDS), subject.analyse(WITH_SYSTEM)
    if isinstance(plain, RowError) or plain.layout.lost:
        return
    added = _before(plain, 0)
    if isinstance(with_system, Analysis) and 0 not in lost(with_system, WITH_SYSTEM.conversation, "content"):
        added = _without_ends(added, start=_before(with_system, 0), end=_before(with_system, 1))
    if len(_LETTER.findall(added)) >= _PROSE_LETTERS:
        yield CheckResult(
            "default-system-prompt",
            "info",
            "the template writes a system prompt of its own where the conversation has none",
            (("it writes", quoted(added.strip())),),
            "give conversations a system message if the model shouldn't be trained with this one",
        )
        return
    standing = _before(with_system, 0) if isinstance(with_system, Analysis) else ""
    if len(_LETTER.findall(standing)) >= _PROSE_LETTERS:
        finding = "the template starts every conversation with text of its own"
        evidence = (("it writes", quoted(standing.strip())),)
        yield CheckResult("default-system-prompt", "info", finding, evidence)
        return
    yield CheckResult("default-system-prompt", "ok", "no system prompt is made up")


def _before(analysis: Analysis, message: int) -> str:
    """The template's own text right before a message's first piece."""
    text = ""
    for label, piece in zip(analysis.layout.labels, analysis.texts, strict=True):
        if label.message == message and label.kind != "header":
            return text
        text = text + piece if label.message in (-1, message) else ""
    return ""


def _without_ends(text: str, *, start: str, end: str) -> str:
    """Text less what it ends in like ``end``, then less what it starts with like ``start``."""
    size = 0
    while size < min(len(text), len(end)) and text[-1 - size] == end[-1 - size]:
        size += 1
    text = text[: len(text) - size]
    size = 0
    while size < min(len(text), len(start)) and text[size] == start[size]:
        size += 1
    return text[size:]


# -- reasoning -----------------------------------------------------------------------------------------------


def check_reasoning(subject: Subject) -> Iterator[CheckResult]:
    """Whether ``reasoning_content`` is written."""
    analysis = subject.analyse(THINKING)
    if isinstance(analysis, Analysis):
        gone = lost(analysis, THINKING.conversation, "reasoning")
        yield _reasoning_result("reasoning", "reasoning_content", gone)


def check_inline_reasoning(subject: Subject) -> Iterator[CheckResult]:
    """Whether ``<think>`` blocks inside contents are written."""
    analysis = subject.analyse(INLINE)
    if isinstance(analysis, RowError) or analysis.layout.lost:
        return
    written = _texts(analysis)
    gone = [
        turn
        for turn in INLINE.turns
        # What the template leaves out altogether is no matter of reasoning.
        if REASONING not in written.get(turn, REASONING)
    ]
    yield _reasoning_result("reasoning-inline", "a <think> block inside the content", gone)


def _reasoning_result(name: str, what: str, gone: list[int]) -> CheckResult:
    if not gone:
        return CheckResult(name, "ok", f"{what} is written in every turn")
    if THINKING.turns[-1] not in gone:
        return CheckResult(
            name, "warn", f"{what} is written in the last turn only", (), "--unroll auto trains all of it"
        )
    return CheckResult(
        name, "warn", f"{what} is left out, even of the last turn", (), "use a template that writes reasoning"
    )


def _texts(analysis: Analysis) -> dict[int, str]:
    """What each message's own text became."""
    texts: dict[int, str] = {}
    for label, text in zip(analysis.layout.labels, analysis.texts, strict=True):
        if label.message >= 0 and label.kind != "header":
            texts[label.message] = texts.get(label.message, "") + text
    return texts


# -- white space and roles -----------------------------------------------------------------------------------


def check_outer_space(subject: Subject) -> Iterator[CheckResult]:
    """Whether contents keep their outer white space."""
    analysis = subject.analyse(PADDED)
    if isinstance(analysis, RowError) or analysis.layout.lost:
        return
    messages = PADDED.conversation.messages
    trimmed = [
        str(messages[index]["role"])
        for index, text in sorted(_texts(analysis).items())
        if text != messages[index]["content"]
    ]
    if trimmed:
        finding = f"outer white space is trimmed from {' and '.join(trimmed)} messages"
        yield CheckResult("outer-space", "info", finding)
    else:
        yield CheckResult("outer-space", "ok", "contents keep their outer white space")


def check_roles(subject: Subject) -> Iterator[CheckResult]:
    """What becomes of roles in unusual places."""
    if isinstance(subject.analyse(ROUNDS), RowError):
        return
    unwelcome: list[str] = []
    dropped: list[str] = []
    said: Evidence = ()
    for what, messages in ODD_ROLES:
        conversation = Conversation(messages)
        analysis = subject.try_analyse(conversation)
        if isinstance(analysis, RowError):
            unwelcome.append(what)
            said = said or (("it says", analysis.message),)
        elif unprinted(conversation, analysis) and not _is_plain_loss(subject, messages):
            dropped.append(what)
    if dropped:
        finding = f"text is left out without a word: {', '.join(dropped)}"
        yield CheckResult("roles", "warn", finding, (), "rename or merge such messages in the data")
    if unwelcome:
        finding = f"conversations are refused that have {', '.join(unwelcome)}"
        yield CheckResult("roles", "info", finding, said, "rows like that will be rejected")
    if not dropped and not unwelcome:
        yield CheckResult("roles", "ok", "roles may come in any order")


def _is_plain_loss(subject: Subject, messages: list[Message]) -> bool:
    """Whether the loss is reported by another check: replies in any place, or system prompts."""
    probe = WITH_SYSTEM if SYSTEM in messages else ROUNDS
    analysis = subject.analyse(probe)
    return isinstance(analysis, RowError) or bool(unprinted(probe.conversation, analysis))


CONTENT_CHECKS = (
    check_system_prompt,
    check_default_system_prompt,
    check_reasoning,
    check_inline_reasoning,
    check_outer_space,
    check_roles,
)
