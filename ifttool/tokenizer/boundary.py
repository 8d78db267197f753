"""Encoding a completion on its own where a token would straddle its start: the ids that inference works with."""

from collections.abc import Sequence

import numpy as np
import tokenizers

from ifttool.tokenizer.encoded import EncodedBatch, joined
from ifttool.tokenizer.reference import encode_with

# A stretch is encoded behind one of these, so that the tokenizer doesn't take it for the start of a text
# (SentencePiece would put a space there). The first one that stays a token of its own is cut off again.
_SENTINELS = ("\n", "a", ".", "0")


def crossed(encoded: EncodedBatch, points: Sequence[int]) -> list[int]:
    """Which of ``points`` (in characters) lie inside a token of this row."""
    return [point for point in points if bool(((encoded.starts < point) & (encoded.ends > point)).any())]


def encode_split(backend: tokenizers.Tokenizer, text: str, points: Sequence[int]) -> EncodedBatch:
    """Encode a text in stretches that end at ``points``, so that no token crosses one.

    Args:
        backend: The tokenizer.
        text: The whole text.
        points: Characters to split at, sorted, inside the text.
    """
    bounds = [0, *points, len(text)]
    parts = [encode_with(backend, [text[: bounds[1]]])]
    for low, high in zip(bounds[1:-1], bounds[2:], strict=True):
        parts.append(_continued(backend, text[low:high]).shifted(low))
    return joined(parts)


def _continued(backend: tokenizers.Tokenizer, text: str) -> EncodedBatch:
    """A stretch of text as it is encoded in the middle of a text."""
    for sentinel in _SENTINELS:
        encoded = encode_with(backend, [sentinel + text])
        inside = np.flatnonzero(encoded.starts >= 1)
        first = int(inside[0]) if len(inside) else len(encoded.ids)
        if not (encoded.ends[:first] > 1).any():
            return encoded.tokens(first, len(encoded.ids)).shifted(-1)
    return encode_with(backend, [text])
