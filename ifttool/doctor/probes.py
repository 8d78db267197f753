"""Probe conversations: each is the smallest that shows one thing a template may do."""

from dataclasses import dataclass
from typing import Any

from ifttool.records import Conversation, Message

REASONING = "I recall the definition first."
ARGUMENTS = {"city": "Oslo"}


@dataclass(frozen=True, slots=True)
class Probe:
    """One conversation to try a template on.

    Attributes:
        name: A stable slug.
        title: What to call it for people.
        conversation: The conversation. Its assistant messages are the turns that would be trained.
        is_plain: Whether every SFT data set is full of chats like it, so that a template has to get it right.
    """

    name: str
    title: str
    conversation: Conversation
    is_plain: bool = False

    @property
    def turns(self) -> list[int]:
        """Message indices of the assistant turns."""
        roles = (message["role"] for message in self.conversation.messages)
        return [index for index, role in enumerate(roles) if role == "assistant"]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _reply(text: str, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def calling(content: str | None = "", *, arguments: Any = None, absent: bool = False) -> Message:
    """An assistant message with one tool call.

    Args:
        content: Its content.
        arguments: The arguments of the call; ``ARGUMENTS`` by default.
        absent: Leave the content out altogether.
    """
    function = {"name": "get_weather", "arguments": dict(ARGUMENTS) if arguments is None else arguments}
    call = {"id": "call00001", "type": "function", "function": function}
    return {"role": "assistant", **({} if absent else {"content": content}), "tool_calls": [call]}


SYSTEM: Message = {"role": "system", "content": "Answer like a patient teacher."}
QUESTION = _user("What is a prime number?")
ANSWER = _reply("A number with exactly two divisors.")
WEATHER = _user("How is the weather at home?")
RESULT: Message = {
    "role": "tool",
    "name": "get_weather",
    "tool_call_id": "call00001",
    "content": '{"sky": "clear"}',
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Name of the city."}},
                "required": ["city"],
            },
        },
    }
]


def _rounds(**more: Any) -> list[Message]:
    return [
        QUESTION,
        {**ANSWER, **more},
        _user("Is one a prime number?"),
        {**_reply("It is not, by convention."), **more},
        _user("Thanks a lot."),
        {**_reply("You are welcome."), **more},
    ]


def _inline(message: Message) -> Message:
    if message["role"] != "assistant":
        return message
    return {**message, "content": f"<think>\n{REASONING}\n</think>\n\n{message['content']}"}


def _plain(name: str, title: str, messages: list[Message]) -> Probe:
    return Probe(name, title, Conversation(messages), is_plain=True)


def _probe(name: str, title: str, messages: list[Message], *, tools: bool = False) -> Probe:
    return Probe(name, title, Conversation(messages, TOOLS if tools else None))


SINGLE = _plain("single", "one round", [QUESTION, ANSWER])
ROUNDS = _plain("rounds", "three rounds", _rounds())
WITH_SYSTEM = _plain("system", "system prompt", [SYSTEM, *_rounds()])
WITH_TOOLS = _probe("tools", "tools on offer", [QUESTION, ANSWER], tools=True)
CALLS = _probe(
    "tool-calls",
    "tool call",
    [
        WEATHER,
        calling(),
        RESULT,
        _reply("The sky is clear."),
        _user("Thanks a lot."),
        _reply("You are welcome."),
    ],
    tools=True,
)
THINKING = _probe("reasoning", "reasoning_content", _rounds(reasoning_content=REASONING))
INLINE = _probe("reasoning-inline", "<think> in content", [_inline(message) for message in _rounds()])
PADDED = _probe("padded", "outer white space", [_user(" \n Tell me. \n "), _reply(" \n A reply. \n ")])

VERDICT_PROBES = (SINGLE, ROUNDS, WITH_SYSTEM, WITH_TOOLS, CALLS, THINKING, INLINE)
"""Chats whose turns are judged: the plain ones, and what some data sets have."""

# What happens to roles in unusual places: words for it, and the conversation.
ODD_ROLES: tuple[tuple[str, list[Message]], ...] = (
    ("two user messages in a row", [_user("One thing."), _user("And another."), ANSWER]),
    ("two assistant messages in a row", [QUESTION, ANSWER, _reply("And one is not prime.")]),
    ("an assistant message first", [_reply("Hello there."), QUESTION, ANSWER]),
    ("a system message in the middle", [QUESTION, ANSWER, SYSTEM, _user("And one?"), _reply("It is not.")]),
    ("a developer message", [{"role": "developer", "content": "Be brief."}, QUESTION, ANSWER]),
)
