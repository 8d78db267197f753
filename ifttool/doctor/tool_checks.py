"""Checks on tools: definitions, calls, results, and the forms in which calls may come."""

from collections.abc import Iterator

from ifttool.doctor.probes import ARGUMENTS, CALLS, SINGLE, TOOLS, WEATHER, WITH_TOOLS, calling
from ifttool.doctor.result import CheckResult, excerpt, refused
from ifttool.doctor.subject import Subject, lost
from ifttool.errors import RowError
from ifttool.records import Message


def check_tools(subject: Subject) -> Iterator[CheckResult]:
    """Whether tool definitions, calls and results are written."""
    advice = "use a template that has tools if your data has them"
    offered, calls = subject.analyse(WITH_TOOLS), subject.analyse(CALLS)
    if isinstance(subject.analyse(SINGLE), RowError):
        return
    if isinstance(offered, RowError):
        yield refused("tools", "conversations with tools on offer", offered, advice=advice)
    elif lost(offered, WITH_TOOLS.conversation, "tools"):
        yield CheckResult("tools", "warn", "the list of tools is left out without a word", (), advice)
    else:
        yield CheckResult("tools", "ok", "the list of tools is written")
    if isinstance(calls, RowError):
        yield refused("tool-calls", "tool calls or their results", calls, advice=advice)
        return
    if lost(calls, CALLS.conversation, "tool calls"):
        yield CheckResult("tool-calls", "warn", "tool calls are left out without a word", (), advice)
    else:
        yield CheckResult("tool-calls", "ok", "tool calls are written")
    if 2 in lost(calls, CALLS.conversation, "content"):
        yield CheckResult("tool-results", "warn", "tool results are left out without a word", (), advice)
    else:
        yield CheckResult("tool-results", "ok", "tool results are written")


def check_tool_arguments(subject: Subject) -> Iterator[CheckResult]:
    """Which form of tool-call arguments the template is written for."""
    as_object = _call_text(subject, calling())
    as_string = _call_text(subject, calling(arguments='{"city": "Oslo"}'))
    name = "tool-arguments"
    if isinstance(as_object, RowError):
        if not isinstance(as_string, RowError):
            finding = "tool-call arguments work as JSON strings only"
            evidence = (("objects", as_object.message),)
            yield CheckResult(name, "warn", finding, evidence, "--tool-arguments string")
        return
    if ARGUMENTS["city"] not in as_object:
        return
    if str(ARGUMENTS) in as_object:
        at = as_object.index(str(ARGUMENTS))
        finding = "argument objects are written as Python, not as JSON"
        evidence = (("it writes", excerpt(as_object, at)),)
        yield CheckResult(name, "warn", finding, evidence, "--tool-arguments string")
    elif isinstance(as_string, RowError):
        finding = "argument objects are written; JSON strings are refused, which ifttool parses by default"
        yield CheckResult(name, "ok", finding)
    elif '{\\"city' in as_string:
        evidence = (("it writes", excerpt(as_string, as_string.index('{\\"city'))),)
        finding = "argument objects are written as JSON; JSON strings would be escaped a second time"
        yield CheckResult(name, "info", finding, evidence, "keep --tool-arguments object, which is the default")
    else:
        yield CheckResult(name, "ok", "tool-call arguments are written as objects and as strings")


def check_null_content(subject: Subject) -> Iterator[CheckResult]:
    """What a tool call without content becomes."""
    name = "null-content"
    empty = _call_text(subject, calling(""))
    absent = _call_text(subject, calling(absent=True))
    null = _call_text(subject, calling(None))
    if isinstance(empty, RowError):
        return
    # ifttool hands null keys over as absent ones, so that is the case that counts.
    if isinstance(absent, RowError):
        finding = "the template refuses tool calls that have no content"
        yield CheckResult(
            name, "warn", finding, (("it says", absent.message),), 'write "content": "" beside tool calls'
        )
    elif word := _printed_null(absent, empty):
        finding = f"a tool call without content is written with the word {word}"
        yield CheckResult(name, "warn", finding, (), 'write "content": "" beside tool calls')
    elif not isinstance(null, RowError) and (word := _printed_null(null, empty)):
        finding = f"a null content is written as {word}; ifttool leaves null keys out, so its texts are right"
        yield CheckResult(name, "info", finding, (), 'write "content": "" for tools that keep nulls')
    else:
        yield CheckResult(name, "ok", "tool calls without content are written as if it were empty")


def _printed_null(text: str, empty: str) -> str:
    return next((word for word in ("None", "null") if text.count(word) > empty.count(word)), "")


def _call_text(subject: Subject, call: Message) -> str | RowError:
    return subject.render([WEATHER, call], TOOLS)


TOOL_CHECKS = (check_tools, check_tool_arguments, check_null_content)
