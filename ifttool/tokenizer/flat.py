"""Whole texts → ids only, in flat arrays: the interface that fast encoders share."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ifttool.errors import RowError, TokenizerError
from ifttool.recipe import Backend
from ifttool.samples import IntArray, LongArray
from ifttool.tokenizer.fast_load import FastLoad, load_fast
from ifttool.tokenizer.load import Tokenizer

# Up to here the reference is done before the fast encoder of a large tokenizer (Qwen3: 150,000 tokens) has loaded,
# which takes as long as encoding two million characters the slow way.
_SMALL_CHARS = 1 << 18

# Texts on which a fast encoder must agree with the reference before it is used: scripts, white space, digits,
# contractions, combining marks, emoji, controls, code. Every added token is put between them as well.
_PROBES = (
    "The quick brown fox can't jump over 12345 lazy dogs; it's 3.14159 o'clock!",
    "  leading and trailing  \n\n\n tabs\t\tand\r\nlines \u00a0\u2003wide ",
    "中文字符和标点，日本語のテキスト、한국어 텍스트 ไทย हिन्दी العربية עברית",
    "cafe\u0301 na\u00efve \u1112\u1161\u11ab phe\u0302\u0323 \ufb01 \u2460 \uff21",
    "👩‍👩‍👧‍👦🫨🇩🇪 \u200b\u200d\ufeff \u0000\u0007\u001b[0m \ud7ff\ue000\U0010ffff",
    "def f(x):\n    return {'a': [1, 2], \"b\": x ** 2}  # ÄÖÜß\n\n\nclass A: ...",
    "x" * 300 + " " * 40 + "\n" * 7 + "1" * 50,
    "",
)


class FlatEncoder(Protocol):
    """Encodes whole texts, nothing added."""

    @property
    def name(self) -> str:
        """``tokenizers`` or ``fastokens``."""

    def encode(self, texts: Sequence[str]) -> tuple[IntArray, LongArray]:
        """Ids of all texts one behind the other, int32, and where each text's begin and the total, int64.

        Raises:
            RowError: ``IFT404`` if the encoder fails on one of the texts.
        """


class _TokenizersEncoder:
    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._backend = tokenizer.backend

    def encode(self, texts: Sequence[str]) -> tuple[IntArray, LongArray]:
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except BaseException as error:  # a Rust panic isn't an Exception
            raise _failed(error) from error
        parts = [np.array(encoding.ids, np.int32) for encoding in encodings]
        rows = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return (np.concatenate(parts) if parts else np.zeros(0, np.int32)), rows


class _FastokensEncoder:
    name = "fastokens"

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def encode(self, texts: Sequence[str]) -> tuple[IntArray, LongArray]:
        try:
            ids, rows = self._backend.encode_batch_flat(list(texts))
        except BaseException as error:
            raise _failed(error) from error
        return np.frombuffer(ids, np.int32), np.frombuffer(rows, np.uint64).astype(np.int64)


class _AutoEncoder:
    """The fast encoder where it is exact, loaded when there is enough text for that to pay; else the reference."""

    def __init__(self, tokenizer: Tokenizer, fast: FastLoad) -> None:
        self._tokenizer, self._fast = tokenizer, fast
        self._reference = _TokenizersEncoder(tokenizer)
        self._chosen: FlatEncoder | None = None
        self._chars = 0

    @property
    def name(self) -> str:
        return self._choose().name

    def encode(self, texts: Sequence[str]) -> tuple[IntArray, LongArray]:
        if self._chosen is None:
            self._chars += sum(map(len, texts))
            if self._chars <= _SMALL_CHARS and not self._fast.is_done:
                return self._reference.encode(texts)
        return self._choose().encode(texts)

    def _choose(self) -> FlatEncoder:
        if self._chosen is None:
            found = _exact_fast_encoder(self._tokenizer, self._fast)
            self._chosen = self._reference if isinstance(found, str) else found
        return self._chosen


def flat_encoder(tokenizer: Tokenizer, backend: Backend, fast: FastLoad | None = None) -> FlatEncoder:
    """The encoder to use.

    ``auto`` takes the fast one if it loads this tokenizer and agrees with the reference on the probe texts. It finds
    that out when the first full batch comes: little text is sooner encoded than the fast one has loaded.

    Args:
        tokenizer: The tokenizer.
        backend: Which encoder.
        fast: Its fast encoder, if that is being loaded already.

    Raises:
        TokenizerError: ``fastokens`` is asked for and can't encode exactly as the reference does.
    """
    if backend == "tokenizers":
        return _TokenizersEncoder(tokenizer)
    if backend == "auto":
        return _AutoEncoder(tokenizer, fast or FastLoad(tokenizer.name))
    found = _exact_fast_encoder(tokenizer, fast or FastLoad(tokenizer.name))
    if isinstance(found, str):
        raise TokenizerError(
            f"fastokens can't be used with tokenizer {tokenizer.name}: {found}",
            hint="--backend auto falls back to tokenizers",
        )
    return found


def _exact_fast_encoder(tokenizer: Tokenizer, load: FastLoad) -> FlatEncoder | str:
    """The fast encoder, or why it can't be used."""
    try:
        if (loaded := load.result()) is not None:
            fast = _FastokensEncoder(loaded)
            # It may lack tokens that were added to the loaded one, or not know an old form of the file.
            if _disagreement(fast, _TokenizersEncoder(tokenizer), tokenizer) is None:
                return fast
        fast = _FastokensEncoder(load_fast(tokenizer.backend.to_str()))
        problem = _disagreement(fast, _TokenizersEncoder(tokenizer), tokenizer)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        problem = f"{type(error).__name__}: {error}"
    return fast if problem is None else problem


def _disagreement(fast: FlatEncoder, reference: FlatEncoder, tokenizer: Tokenizer) -> str | None:
    """The first probe text on which two encoders differ, or None."""
    added = list(tokenizer.added)
    probes = [*_PROBES, "".join(_PROBES)]
    probes += [f"{probe} {token}{probe}\n{token} {token}" for probe in _PROBES[:4] for token in added[:64]]
    probes += [f"a{token}b {token} \n{token}\n" for token in added]
    fast_ids, fast_rows = fast.encode(probes)
    ids, rows = reference.encode(probes)
    for index, probe in enumerate(probes):
        mine = fast_ids[fast_rows[index] : fast_rows[index + 1]]
        if not np.array_equal(mine, ids[rows[index] : rows[index + 1]]):
            return f"other ids than tokenizers for {probe[:60]!r}"
    return None


def _failed(error: BaseException) -> BaseException:
    """The error to raise for a failure of an encoder; interrupts go on as they are."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    return RowError("IFT404", f"the tokenizer failed: {error}")
