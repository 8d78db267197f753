"""Fixtures of the parity tests."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ifttool.tokenizer.locate import locate_tokenizer
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


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """That of the package, and one whose added tokens take the white space around them."""
    spec = json.loads(locate_tokenizer("default").read_bytes())
    for token in spec["added_tokens"]:
        token |= {"lstrip": True, "rstrip": True}
    folder = tmp_path_factory.mktemp("eating")
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    return "default", str(folder)
