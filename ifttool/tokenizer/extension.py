"""Tokens that spell another one and more: what a merge across the end of a prompt makes of the prompt's last token."""

import json
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import models, pre_tokenizers

from ifttool.samples import LongArray
from ifttool.tokenizer.load import Tokenizer


class Extensions:
    """Tells tokens that spell another token and more, in tokenizers whose tokens spell the bytes of a text.

    There a token that stands where another one would have stood, and extends it, starts with the same byte: what
    comes before has the same ids, so the same bytes. In other tokenizers no token is said to extend another.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._backend = tokenizer.backend
        self._known: dict[int, bool] = {}

    def of(self, expected: LongArray, found: LongArray) -> npt.NDArray[np.bool_]:
        """Which of the tokens ``found`` extend the token of ``expected`` in the same place, shape (tokens,)."""
        # Few pairs occur, and those again and again: a line break and two of them.
        pairs, inverse = np.unique(expected << 32 | found, return_inverse=True)
        verdicts: npt.NDArray[np.bool_] = np.array([self._extends(pair) for pair in pairs.tolist()], np.bool_)[inverse]
        return verdicts

    def _extends(self, pair: int) -> bool:
        if pair not in self._known:
            self._known[pair] = self._spells_bytes and self._is_longer(pair >> 32, pair & 0xFFFFFFFF)
        return self._known[pair]

    def _is_longer(self, expected: int, found: int) -> bool:
        # Added tokens may take white space with them that they don't spell.
        if expected == found or not self._added.isdisjoint((expected, found)):
            return False
        # One character stands for one byte, so what holds of these spellings holds of the bytes.
        short, long = self._backend.id_to_token(expected), self._backend.id_to_token(found)
        return short is not None and long is not None and long.startswith(short)

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._backend.get_added_tokens_decoder())

    @cached_property
    def _spells_bytes(self) -> bool:
        return spells_bytes(self._backend)


def spells_bytes(backend: tokenizers.Tokenizer) -> bool:
    """Whether tokens that aren't added ones spell every byte of a text, in order, one character for each.

    The text may be put in normal form C before. If tokens spell the same bytes up to some place after that, the same
    characters stand there, since no character's bytes begin another's; so none of them was composed with what follows.
    """
    model = backend.model
    return (
        isinstance(model, models.BPE)
        and not model.continuing_subword_prefix
        and not model.end_of_word_suffix
        and all(model.token_to_id(char) is not None for char in pre_tokenizers.ByteLevel.alphabet())
        and all(part == {"type": "NFC"} for part in _parts(backend.normalizer, "normalizers"))
        and _maps_bytes(_parts(backend.pre_tokenizer, "pretokenizers"))
    )


def _maps_bytes(parts: list[dict[str, Any]]) -> bool:
    """Whether pre-tokenizers map bytes to characters once, drop nothing and put nothing in."""
    mapping = [part for part in parts if part["type"] == "ByteLevel"]
    others = [part for part in parts if part["type"] != "ByteLevel"]
    return (
        len(mapping) == 1
        and not mapping[0]["add_prefix_space"]
        and all(
            part["type"] == "Digits" or (part["type"] == "Split" and part["behavior"] != "Removed") for part in others
        )
    )


def _parts(component: Any, name: str) -> list[dict[str, Any]]:
    """The settings of a normalizer or pre-tokenizer, of each in a sequence; ``name`` is what it calls them."""
    if component is None:
        return []
    spec: dict[str, Any] = json.loads(component.__getstate__())
    return _flat(spec, name)


def _flat(spec: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [part for inner in spec[name] for part in _flat(inner, name)] if spec["type"] == "Sequence" else [spec]
