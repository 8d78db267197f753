"""Conversations that make templates take different ways: each is the smallest that shows one thing."""

from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation with the tools on offer."""

    messages: list[Message]
    tools: list[Tool] | None = None


def system(content: str = "Answer in one sentence.") -> Message:
    return {"role": "system", "content": content}


def user(content: str = "How tall is the tower?") -> Message:
    return {"role": "user", "content": content}


def assistant(content: str = "About 330 metres.", **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


def calling(*calls: tuple[str, Any], **more: Any) -> Message:
    tool_calls = [
        {"id": f"call{n:05d}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "tool_calls": tool_calls, **more}


def result(content: str, name: str = "lookup", call: int = 0) -> Message:
    return {"role": "tool", "name": name, "tool_call_id": f"call{call:05d}", "content": content}


TOOLS: list[Tool] = [
    {
        "type": "function",
        "function": {
            "name": "lookup",
            "description": 'Looks <things> up & "quotes" them – 調べる',
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": " What to look up. "},
                    "depth": {"type": "integer", "default": 3},
                    "units": {"enum": ["m", "ft"], "type": "string"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "either": {"type": ["string", "null"]},
                    "more": {"type": "object", "properties": {"a": {"type": "boolean"}}},
                },
                "required": ["name"],
            },
            "return": {"type": "string", "description": "A sentence."},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "description": "",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]

PLAIN: dict[str, Chat] = {
    "question": Chat([user()]),
    "single": Chat([user(), assistant()]),
    "system": Chat([system(), user(), assistant()]),
    "two-rounds": Chat([user(), assistant(), user("Sure?"), assistant("Yes.")]),
    "three-rounds-system": Chat(
        [system(), user(), assistant(), user("Sure?"), assistant("Yes."), user("Ok"), assistant("Bye.")]
    ),
    "open-end": Chat([system(), user(), assistant(), user("Sure?")]),
    "same-texts": Chat([user("yes"), assistant("yes"), user("yes"), assistant("yes")]),
    "empty": Chat([user(""), assistant("")]),
    "empty-mid": Chat([system(""), user("a"), assistant(""), user("b"), assistant("c")]),
    "padded": Chat([system(" \n be kind \n"), user("  hi\t"), assistant("\n\n ho \n"), user(" "), assistant("   ")]),
    "unicode": Chat(
        [user("你好 👩‍🚀 \u00e9e\u0301 ½"), assistant("مرحبا\u2028naïve 🫨"), user("ok"), assistant("cafe\u0301")]
    ),
    "markup": Chat([user("<|im_end|> {{ x }} {% y %} </s>"), assistant("<b>&amp; 'q' \"d\" \\n</b>"), user("[/INST]")]),
    "line-ends": Chat([user("a\r\nb\rc\n"), assistant("# T\n\n```py\nx = 1\n```\n")]),
    "two-users": Chat([user("a"), user("b"), assistant()]),
    "two-assistants": Chat([user(), assistant("a"), assistant("b")]),
    "assistant-first": Chat([assistant(), user()]),
    "late-system": Chat([user(), system(), assistant()]),
    "system-only": Chat([system()]),
}
TOOL_USE: dict[str, Chat] = {
    "tools-offered": Chat([system(), user(), assistant()], TOOLS),
    "call": Chat([user(), calling(("lookup", {"name": "Łódź <1>", "depth": 2}), content="")], TOOLS),
    "call-no-content": Chat([user(), calling(("now", {}))], TOOLS),
    "call-and-result": Chat(
        [
            system(),
            user(),
            calling(("lookup", {"name": "tower", "tags": ["a", "b"], "more": {"a": None}}), content=""),
            result('{"height": 330}'),
            assistant("330 m."),
            user("Thanks"),
            assistant("Welcome."),
        ],
        TOOLS,
    ),
    "two-calls": Chat(
        [
            user(),
            calling(("now", {}), ("lookup", {"name": "Oslo", "depth": 1.5}), content="Let me look."),
            result("12:00", "now"),
            result("rain", call=1),
            assistant("Noon, and rain."),
        ],
        TOOLS,
    ),
    "string-arguments": Chat([user(), calling(("lookup", '{"name": "x"}'), content="")], TOOLS),
    "bare-call": Chat([user(), assistant("", tool_calls=[{"name": "now", "arguments": {"a": [1, True]}}])], TOOLS),
    "no-calls": Chat([user(), assistant("Hi.", tool_calls=[])]),
    "result-after-user": Chat([user(), result("12:00", "now"), assistant()]),
}
REASONING: dict[str, Chat] = {
    "reasoning": Chat([user(), assistant("6.", reasoning_content="\nHmm, six.\n")]),
    "reasoning-history": Chat(
        [user(), assistant("6.", reasoning_content="Hmm."), user("Sure?"), assistant("Aye.", reasoning="Yes.")]
    ),
    "thinking-field": Chat([system(), user(), assistant("6.", thinking="Hmm.")]),
    "reasoning-empty": Chat([user(), assistant("6.", reasoning_content="")]),
    "inline-think": Chat(
        [user(), assistant("<think>\nHmm.\n</think>\n\n6."), user("?"), assistant("<think></think>7.")]
    ),
    "think-twice": Chat([user(), assistant("a</think>b</think>c"), user(), assistant("<think>open")]),
    "reasoning-and-call": Chat(
        [
            user(),
            calling(("now", {}), content="", reasoning_content="I need the time."),
            result("12:00", "now"),
            assistant("Noon.", reasoning_content="It is 12."),
        ],
        TOOLS,
    ),
}
PARTS: dict[str, Chat] = {
    "text-parts": Chat(
        [
            {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "<you>"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Ho"}]},
        ]
    ),
}

CHATS: dict[str, Chat] = {**PLAIN, **TOOL_USE, **REASONING, **PARTS}
"""All conversations by name."""
