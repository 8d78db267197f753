"""Encoding a completion on its own where a token would straddle its start: the ids that inference works with."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import tokenizers

from ifttool.tokenizer.encoded import EncodedBatch, joined
from ifttool.tokenizer.reference import encode_with

# A stretch is encoded behind one of these, so that the tokenizer doesn't take it for the start of a text
# (SentencePiece would put a space there). The first one that stays a token of its own is cut off again. What comes
# first is what stands there: behind white space a word starts, behind a letter it goes on.
_SENTINELS = ("\n", "a", ".", "0")


# How much text before a completion is encoded again to see what a prompt that ends there would give. Tokens of the
# second half must agree; the first half is there for the encoder to fall into step.
_WINDOW = 64
COMPARED = _WINDOW // 2
"""Characters before a point whose tokens are compared there, at the least."""


def crossed(backend: tokenizers.Tokenizer, text: str, encoded: EncodedBatch, points: Sequence[int]) -> list[int]:
    """Which of ``points`` (in characters) a token straddles, or leaves its mark on.

    A text that ended at such a point would have other ids before it than this row has: because a merge goes across
    it, or because the encoder looked ahead (GPT-2 splits the blank line of ``assistant\\n\\nHi`` in two, and keeps it
    whole at the end of a prompt).
    """
    starts = [_window_start(encoded, point) for point in points]
    windows = encode_with(backend, [text[start:point] for start, point in zip(starts, points, strict=True)])
    found = []
    for index, (start, point) in enumerate(zip(starts, points, strict=True)):
        window = windows.row(index)
        middle = start and start + (point - start) // 2
        alone = window.ids[window.starts + start >= middle]
        here = encoded.ids[(encoded.starts >= middle) & (encoded.starts < point)]
        if not np.array_equal(alone, here):
            found.append(point)
    return found


def _window_start(encoded: EncodedBatch, point: int) -> int:
    """Where the last token starts that lies a window before ``point``."""
    if point <= _WINDOW:
        return 0
    at = int(np.searchsorted(encoded.starts, point - _WINDOW, side="right")) - 1
    return int(encoded.starts[at]) if at >= 0 else 0


def encode_split(backend: tokenizers.Tokenizer, text: str, points: Sequence[int]) -> EncodedBatch:
    """Encode a text in stretches that end at ``points``, so that no token crosses one.

    Args:
        backend: The tokenizer.
        text: The whole text.
        points: Characters to split at, sorted, inside the text.
    """
    bounds = [0, *points, len(text)]
    parts = [encode_with(backend, [text[: bounds[1]]])]
    for low, high in pairwise(bounds[1:]):
        parts.append(_continued(backend, text[low:high], after=text[low - 1]).shifted(low))
    return joined(parts)


def _continued(backend: tokenizers.Tokenizer, text: str, *, after: str) -> EncodedBatch:
    """A stretch of text as it is encoded in the middle of a text, behind the character ``after``."""
    for sentinel in _SENTINELS if after.isspace() else reversed(_SENTINELS):
        encoded = encode_with(backend, [sentinel + text])
        inside = np.flatnonzero(encoded.starts >= 1)
        first = int(inside[0]) if len(inside) else len(encoded.ids)
        if not (encoded.ends[:first] > 1).any():
            return encoded.tokens(first, len(encoded.ids)).shifted(-1)
    return encode_with(backend, [text])
