"""Control tokens come from the template, never from the data.

A rendered text is encoded as a whole, so a ``<|im_end|>`` that a user typed would become the control token. Which
control tokens a row may hold is known from its layout: those in the template's own text, at known positions. A row
that holds others is encoded again with a twin of the tokenizer in which every control token has another spelling, one
that doesn't occur in the row. Only the template's own are respelled; what the data typed is then just text, and
merges, normalizers and offsets work on the whole text as always.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tokenizers
from tokenizers import AddedToken

from ifttool.errors import RowError, TokenizerError
from ifttool.template.layout import Layout
from ifttool.template.symbols import Leaf, Node, owner
from ifttool.template.turns import ROLE_WORDS
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.load import Tokenizer
from ifttool.tokenizer.reference import encode_texts

# Blocks of private-use characters for other spellings. A row that holds characters of one is respelled in another.
_PRIVATE_BLOCKS = (0xF0000, 0xF8000, 0x100000, 0x108000)
_BLOCK_SIZE = 0x7FF0

# Some publishers (DeepSeek) don't flag their turn markers as special. Pipes give them away; <think> and <tool_call>
# belong to the data as much as to the template and stay untouched.
_PIPED = re.compile(r"<[|｜].*[|｜]>")


@dataclass(frozen=True, slots=True)
class Expected:
    """A control token of the template: its piece, its offset in characters from the piece's start, and its id."""

    piece: int
    offset: int
    token: int


class ControlTokens:
    """Finds control tokens that don't come from the template, and encodes rows without them.

    Args:
        tokenizer: The tokenizer.

    Attributes:
        is_control: For each id whether it is that of a control token, bool.
        taking_before: Ids of added tokens that take the white space before them into themselves.
        taking_behind: Ids of those that take the white space behind them.

    Raises:
        TokenizerError: A control token is one only where no letter stands beside it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts = {
            token_id: token
            for token, special in tokenizer.added.items()
            if (special or _PIPED.fullmatch(token)) and (token_id := tokenizer.id_of(token)) is not None
        }
        added = tokenizer.backend.get_added_tokens_decoder()
        if alone := next((token for token_id, token in self._texts.items() if added[token_id].single_word), None):
            # Between letters it is text, and so is the twin's spelling, which would get into the shards.
            raise TokenizerError(
                f"tokenizer {tokenizer.name} takes {alone} for a token only where no letter stands beside it",
                hint='set its "single_word" to false in tokenizer.json',
            )
        self._normalized = {token_id for token_id in self._texts if added[token_id].normalized}
        self.taking_before = frozenset(token_id for token_id, token in added.items() if token.lstrip)
        self.taking_behind = frozenset(token_id for token_id, token in added.items() if token.rstrip)
        size = max([tokenizer.vocab_size, *(token_id + 1 for token_id in self._texts)])
        self.is_control = np.zeros(size, np.bool_)
        self.is_control[list(self._texts)] = True
        self._expected: WeakKeyDictionary[Layout, tuple[Expected, ...]] = WeakKeyDictionary()
        self._twins: dict[int, tokenizers.Tokenizer] = {}

    def is_forged(self, encoded: EncodedBatch, text: str, layout: Layout, positions: Sequence[int]) -> bool:
        """Whether the control tokens of a row aren't exactly those of the template.

        Args:
            encoded: The row, encoded as a whole.
            text: Its text.
            layout: What its pieces are.
            positions: Where they start, in characters.
        """
        wanted = [
            (positions[item.piece] + item.offset, item.token) for item in self._expected_of(text, layout, positions)
        ]
        return self._written(encoded, text) != wanted

    def are_in(self, texts: Sequence[str]) -> bool:
        """Whether one of some texts spells a control token."""
        encoded = encode_texts(self._tokenizer, texts)
        return any(self._written(encoded.row(row), text) for row, text in enumerate(texts))

    def _written(self, encoded: EncodedBatch, text: str) -> list[tuple[int, int]]:
        """Control tokens that a text spells out, with their place: not an ``<unk>`` that stands for something else.

        The place is that of the token's own first character; the span of a token with ``lstrip`` starts before it.
        """
        found = []
        for at in np.flatnonzero(self.is_control[encoded.ids]).tolist():
            start, token = int(encoded.starts[at]), int(encoded.ids[at])
            covered = text[start : int(encoded.ends[at])]
            if self._spells(covered.strip(), token):
                found.append((start + len(covered) - len(covered.lstrip()), token))
        return found

    def _spells(self, covered: str, token: int) -> bool:
        content = self._texts[token].strip()
        if covered == content or token not in self._normalized:
            return covered == content
        normalizer = self._tokenizer.backend.normalizer
        return normalizer is not None and normalizer.normalize_str(covered) == normalizer.normalize_str(content)

    def encode(self, text: str, layout: Layout, positions: Sequence[int]) -> tuple[tokenizers.Tokenizer, str]:
        """A tokenizer and a spelling of one row in which only the template writes control tokens.

        Offsets stay what they are: other spellings are as long as the originals.

        Raises:
            RowError: ``IFT403`` if the row holds characters of every private block.
        """
        block = next((block for block in _PRIVATE_BLOCKS if not _uses(text, block)), None)
        if block is None:
            raise RowError("IFT403", "the row holds control tokens and characters of every private-use block")
        spellings = self._spellings(block)
        parts = []
        end = 0
        for item in self._expected_of(text, layout, positions):
            start = positions[item.piece] + item.offset
            spelling = spellings[item.token]
            parts += [text[end:start], spelling]
            end = start + len(spelling)
        parts.append(text[end:])
        return self._twin(block), "".join(parts)

    def expected_in(self, layout: Layout) -> tuple[Expected, ...] | None:
        """The template's control tokens in every row of a layout; None if they depend on the row."""
        if not has_constant_texts(layout):
            return None
        found = self._expected.get(layout)
        if found is None:
            found = self._expected[layout] = tuple(self._find_expected(own_texts(layout)))
        return found

    def _expected_of(self, text: str, layout: Layout, positions: Sequence[int]) -> Sequence[Expected]:
        """The template's control tokens in one row."""
        found = self.expected_in(layout)
        if found is not None:
            return found
        pieces = [text[low:high] for low, high in pairwise(positions)]
        return self._find_expected(
            [
                piece if owner(node) is None or (_is_role(node) and piece.casefold() in ROLE_WORDS) else None
                for piece, node in zip(pieces, layout.nodes, strict=True)
            ]
        )

    def _find_expected(self, own: Sequence[str | None]) -> list[Expected]:
        """Control tokens in the template's own text: matched on stretches of it that no data interrupts."""
        runs: list[tuple[int, list[str]]] = []
        previous = -2
        for index, text in enumerate(own):
            if text is None:
                continue
            if index != previous + 1:
                runs.append((index, []))
            runs[-1][1].append(text)
            previous = index
        encoded = encode_texts(self._tokenizer, ["".join(texts) for _, texts in runs])
        expected = []
        for row, (first, texts) in enumerate(runs):
            starts = np.cumsum([0, *map(len, texts)])
            for start, token in self._written(encoded.row(row), "".join(texts)):
                piece = int(np.searchsorted(starts, start, side="right")) - 1
                expected.append(Expected(first + piece, int(start - starts[piece]), token))
        return expected

    def _spellings(self, block: int) -> dict[int, str]:
        return {
            token_id: chr(block + number) * len(token) for number, (token_id, token) in enumerate(self._texts.items())
        }

    def _twin(self, block: int) -> tokenizers.Tokenizer:
        if block not in self._twins:
            spellings = self._spellings(block)
            renamed = {token: spellings[token_id] for token_id, token in self._texts.items()}
            twin = _sharing_twin(self._tokenizer.backend, renamed)
            if self._differing(twin, renamed):
                twin = tokenizers.Tokenizer.from_str(json.dumps(_respelled(self._spec, renamed)))
                twin.no_truncation()
                twin.no_padding()
            for token in self._differing(twin, renamed) & renamed.keys():
                raise RowError("IFT403", f"control token {token} can't be told from text in this tokenizer")
            self._twins[block] = twin
        return self._twins[block]

    def _differing(self, twin: tokenizers.Tokenizer, renamed: dict[str, str]) -> set[str]:
        """Added tokens that have another id in a twin."""
        return {
            token.content
            for token_id, token in self._tokenizer.backend.get_added_tokens_decoder().items()
            if twin.token_to_id(renamed.get(token.content, token.content)) != token_id
        }

    @cached_property
    def _spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = json.loads(self._tokenizer.backend.to_str())
        return spec


def has_constant_texts(layout: Layout) -> bool:
    """Whether the template's own text is the same in every row: no share of it in a string that was cut or mapped."""
    return all(isinstance(node, str | Leaf) or not (owner(node) is None or _is_role(node)) for node in layout.nodes)


def own_texts(layout: Layout) -> list[str | None]:
    """The text of each piece that the template answers for and that is the same in every row."""
    texts: list[str | None] = []
    for index, (node, label) in enumerate(zip(layout.nodes, layout.labels, strict=True)):
        if isinstance(node, str):
            texts.append(node)
        elif index in layout.empty:
            texts.append("")
        elif isinstance(node, Leaf) and _is_role(node) and layout.roles[label.message] in ROLE_WORDS:
            texts.append(layout.roles[label.message])
        else:
            texts.append(None)
    return texts


def _is_role(node: Node) -> bool:
    path = owner(node)
    return path is not None and path[0] == "messages" and path[-1] == "role"


def _uses(text: str, block: int) -> bool:
    return any(block <= ord(char) < block + _BLOCK_SIZE for char in set(text) if ord(char) >= _PRIVATE_BLOCKS[0])


def _sharing_twin(backend: tokenizers.Tokenizer, renamed: dict[str, str]) -> tokenizers.Tokenizer:
    """A twin around the same model: made in no time and in no memory, where 1.6 s and 100 MB buy a whole one.

    Its added tokens have other ids if the model's vocabulary holds them or their ids have gaps.
    """
    twin = tokenizers.Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if getattr(backend, part) is not None:
            setattr(twin, part, getattr(backend, part))
    twin.add_tokens(
        [
            AddedToken(
                renamed.get(token.content, token.content),
                single_word=token.single_word,
                lstrip=token.lstrip,
                rstrip=token.rstrip,
                normalized=token.normalized,
                special=token.special,
            )
            for _, token in sorted(backend.get_added_tokens_decoder().items())
        ]
    )
    return twin


def _respelled(spec: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """A tokenizer.json in which some tokens have another spelling, and the same ids."""
    model = dict(spec["model"])
    if isinstance(model.get("vocab"), dict):
        model["vocab"] = {renamed.get(token, token): token_id for token, token_id in model["vocab"].items()}
    elif isinstance(model.get("vocab"), list):
        model["vocab"] = [[renamed.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") in renamed:
        model["unk_token"] = renamed[model["unk_token"]]
    added = [{**token, "content": renamed.get(token["content"], token["content"])} for token in spec["added_tokens"]]
    return {**spec, "model": model, "added_tokens": added, "post_processor": None}
