"""Fixtures of the parity tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parity.conversations import Chat


@pytest.fixture(scope="module")
def transformers_text() -> Iterator[Callable[[str, Chat, bool], str | None]]:
    """Text by ``transformers.apply_chat_template(tokenize=False)``; None where it refuses."""
    pytest.importorskip("transformers")
    from parity import oracle  # noqa: PLC0415 - transformers takes seconds to import

    tokenizer: Any = oracle.bare_tokenizer()

    def text(template: str, chat: Chat, prompt: bool) -> str | None:
        try:
            return oracle.apply(tokenizer, template, chat, tokenize=False, add_generation_prompt=prompt)
        except Exception:  # templates fail with errors of jinja2 and of Python alike
            return None

    with oracle.standing_clock():
        yield text
