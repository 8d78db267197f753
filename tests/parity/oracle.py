"""``transformers`` as the oracle, its clock standing still. Only parity tests import this: it takes seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import tokenizers
import transformers
from transformers.utils import chat_template_utils

from jinja_oracle import NOW
from parity.conversations import Chat
from parity.corpus import SPECIAL_TOKENS


class _StandingClock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return NOW


@contextmanager
def standing_clock() -> Iterator[None]:
    """``strftime_now`` of transformers reads ``datetime.now``; here it always is :data:`jinja_oracle.NOW`."""
    with mock.patch.object(chat_template_utils, "datetime", _StandingClock):
        yield


def bare_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer without a vocabulary, for rendering alone."""
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL_TOKENS)


def folder_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerFast:
    """The tokenizer of a folder as its ``tokenizer.json`` has it.

    The plain class: ``AutoTokenizer`` of transformers 5 rebuilds the pipeline of known models from their vocabulary.
    """
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def apply(tokenizer: transformers.PreTrainedTokenizerFast, template: str, chat: Chat, **options: Any) -> Any:
    """``apply_chat_template`` on a copy-free conversation."""
    return tokenizer.apply_chat_template(chat.messages, tools=chat.tools, chat_template=template, **options)
