"""Token ids equal ``apply_chat_template(tokenize=True)`` of the tokenizer that a folder holds."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from ifttool.errors import RowError
from ifttool.template.chat_template import ChatTemplate
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.tokenizer.reference import encode_texts
from jinja_oracle import NOW
from parity.conversations import CHATS, Chat
from parity.corpus import SPECIAL_TOKENS, all_names, compiled, fast_names, template_text
from parity.test_text_parity import cases, rendered
from parity.tokenizers_at_hand import folders

_NAMED = re.compile(r"\b\w+_token\b")


def reads_other_tokens(name: str) -> bool:
    """Whether a template may read a tokenizer's special tokens beyond those the corpus is compiled with."""
    return not set(_NAMED.findall(template_text(name))) <= set(SPECIAL_TOKENS)


OWN_TOKENS = [*all_names()[::60], *filter(reads_other_tokens, all_names())]
"""Templates that are compiled anew for each tokenizer, with its own special tokens."""

# Chats that differ in what a tokenizer sees; the others differ in what a template does.
TOKENIZED = (
    "three-rounds-system", "same-texts", "empty-mid", "padded", "unicode", "markup", "line-ends", "call-and-result",
    "two-calls", "reasoning-history",
)  # fmt: skip


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    batch = encode_texts(tokenizer, texts)
    return [batch.ids[low:high].tolist() for low, high in zip(batch.rows[:-1], batch.rows[1:], strict=True)]


@pytest.fixture(scope="module", params=folders().items(), ids=lambda item: item[0])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param[1]
    return path


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    pytest.importorskip("transformers")
    from parity import oracle  # noqa: PLC0415 - transformers takes seconds to import

    with oracle.standing_clock():
        yield oracle.folder_tokenizer(folder)


def test_ids_are_those_of_tokenizer_json(folder: Path, ours: Tokenizer) -> None:
    """Nothing is added, cut or padded, whatever the file says about truncation and padding."""
    plain = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.no_truncation()
    plain.no_padding()
    names = fast_names()[::6]
    texts = {text for name in names for _, chat, prompt in cases() if (text := rendered(compiled(name), chat, prompt))}
    texts = [*sorted(texts), "", " ", "\n", "word " * 600]
    assert len(texts) > 100
    assert ids_of(ours, texts) == [plain.encode(text, add_special_tokens=False).ids for text in texts]


@pytest.mark.parity
def test_special_tokens_equal(ours: Tokenizer, theirs: Any) -> None:
    assert ours.special_tokens == dict(theirs.special_tokens_map)


@pytest.mark.parity
def test_ids_equal_for_chats_of_the_tokenizers_own_template(ours: Tokenizer, theirs: Any) -> None:
    if theirs.chat_template is None:
        pytest.skip("it has no chat template")
    template = ChatTemplate(theirs.chat_template, name="own", special_tokens=ours.special_tokens, clock=NOW)
    for _, chat, prompt in cases():
        assert_same_ids(template, ours, theirs, [chat], prompt)


@pytest.mark.parity
@pytest.mark.parametrize("name", OWN_TOKENS)
def test_ids_equal_from_messages_on(name: str, ours: Tokenizer, theirs: Any) -> None:
    template = ChatTemplate(template_text(name), name=name, special_tokens=ours.special_tokens, clock=NOW)
    for _, group in groupby(_renderable(name), key=lambda chat: chat.tools is None):
        assert_same_ids(template, ours, theirs, list(group), prompt=False)


@pytest.fixture(scope="module")
def pairs() -> Iterator[dict[str, tuple[Tokenizer, Any]]]:
    """Every tokenizer, by ifttool and by transformers."""
    pytest.importorskip("transformers")
    from parity import oracle  # noqa: PLC0415 - transformers takes seconds to import

    with oracle.standing_clock():
        yield {name: (load_tokenizer(str(path)), oracle.folder_tokenizer(path)) for name, path in folders().items()}


@pytest.fixture(scope="module")
def printed() -> set[tuple[str, ...]]:
    """What templates printed before: many print the same, and their ids need no second look."""
    return set()


@pytest.mark.parity
@pytest.mark.skipif(not folders(), reason="the shared tokenizers aren't there")
@pytest.mark.parametrize("name", [name for name in all_names() if not reads_other_tokens(name)])
def test_ids_equal_apply_chat_template(
    name: str, pairs: dict[str, tuple[Tokenizer, Any]], printed: set[tuple[str, ...]]
) -> None:
    template, chats = compiled(name), _renderable(name)
    texts = tuple(template.render(chat.messages, chat.tools) for chat in chats)
    if texts in printed:
        return
    printed.add(texts)
    for ours, theirs in pairs.values():
        for _, group in groupby(chats, key=lambda chat: chat.tools is None):
            # The same special tokens for every tokenizer, so that one compiled template serves all.
            assert_same_ids(template, ours, theirs, list(group), prompt=False, **SPECIAL_TOKENS)


def _renderable(name: str) -> list[Chat]:
    chats = map(CHATS.__getitem__, TOKENIZED)
    return [chat for chat in chats if rendered(compiled(name), chat, False) is not None]


def assert_same_ids(
    template: ChatTemplate, ours: Tokenizer, theirs: Any, chats: list[Chat], prompt: bool, **variables: str
) -> None:
    """Both sides from messages to ids; a chat that one side refuses, the other must refuse too."""

    def their_ids() -> Any:
        return theirs.apply_chat_template(
            [chat.messages for chat in chats],
            tools=chats[0].tools,
            chat_template=template.text,
            add_generation_prompt=prompt,
            **variables,
        )["input_ids"]

    try:
        texts = [template.render(chat.messages, chat.tools, add_generation_prompt=prompt) for chat in chats]
    except RowError:
        with pytest.raises(Exception):  # noqa: B017 - templates fail with errors of jinja2 and Python alike
            their_ids()
        return
    assert ids_of(ours, texts) == their_ids()
