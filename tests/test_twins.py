"""Twins of a tokenizer in which control tokens have other spellings: cheap where possible, always the same ids."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

from ifttool.tokenizer import control
from ifttool.tokenizer.control import ControlTokens
from ifttool.tokenizer.load import Tokenizer, load_tokenizer

BLOCK = 0xF0000
TEXTS = [
    "<|im_start|>user\nHi<|im_end|>\n<think>x</think>",
    "a  b\u00e9\n\n",
    "",
    "{0}user\nHi <|im_end|> {1} <think>{0}",
]


def byte_tokenizer(folder: Path, *, is_vocabulary: bool) -> Tokenizer:
    """A tokenizer of bytes with control tokens behind its vocabulary, or in it."""
    vocabulary = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    if is_vocabulary:
        vocabulary["<|im_end|>"] = len(vocabulary)
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>", rstrip=True)])
    backend.add_tokens([AddedToken("<think>", normalized=False)])
    backend.save(str(folder / "tokenizer.json"))
    return load_tokenizer(str(folder))


@pytest.mark.parametrize("is_vocabulary", [False, True])
def test_twins_encode_as_the_original_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_vocabulary: bool
) -> None:
    tokenizer = byte_tokenizer(tmp_path, is_vocabulary=is_vocabulary)
    tokens = ControlTokens(tokenizer)
    whole: list[str] = []
    respelled = control._respelled
    monkeypatch.setattr(control, "_respelled", lambda *args: whole.append("made") or respelled(*args))  # type: ignore[func-returns-value]
    twin = tokens._twin(BLOCK)
    assert len(whole) == is_vocabulary  # only a model that holds the tokens itself has to be copied
    spellings = tokens._spellings(BLOCK)
    renamed = {token: spellings[token_id] for token_id, token in tokens._texts.items()}
    reference = tokenizers.Tokenizer.from_str(json.dumps(respelled(tokens._spec, renamed)))
    original = tokenizer.backend
    for text in TEXTS:
        spelled = text.format(*renamed.values())
        ours, theirs = (one.encode(spelled, add_special_tokens=False) for one in (twin, reference))
        assert (ours.ids, ours.offsets) == (theirs.ids, theirs.offsets)
        # Respelled, the template's tokens have the ids they always had.
        respelt = text.replace("<|im_start|>", renamed["<|im_start|>"]).replace("<|im_end|>", renamed["<|im_end|>"])
        if "{" not in text:
            assert (
                twin.encode(respelt, add_special_tokens=False).ids
                == original.encode(text, add_special_tokens=False).ids
            )
    assert tokenizer.id_of("<|im_end|>") not in twin.encode("<|im_end|>", add_special_tokens=False).ids
