"""The reference encoder: ``tokenizers`` on the whole rendered text, nothing added."""

from collections.abc import Sequence

import numpy as np
import tokenizers
from tokenizers.decoders import DecodeStream

from ifttool.errors import RowError
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.load import Tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> EncodedBatch:
    """Encode whole texts with ``add_special_tokens=False``: the ids of ``apply_chat_template(tokenize=True)``.

    Offsets are characters (code points) of the given text, also where the tokenizer normalizes.

    Raises:
        RowError: ``IFT404`` if the tokenizer panics. Encode texts one by one to learn which it was.
    """
    return encode_with(tokenizer.backend, texts)


def encode_with(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> EncodedBatch:
    """:func:`encode_texts` with a bare ``tokenizers`` object."""
    try:
        encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    except BaseException as error:  # a Rust panic isn't an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise RowError("IFT404", f"the tokenizer failed: {error}") from error
    lengths = np.fromiter((len(encoding) for encoding in encodings), np.int64, len(encodings))
    rows = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    total = int(rows[-1])
    ids = np.fromiter((i for encoding in encodings for i in encoding.ids), np.int32, total)
    offsets = np.fromiter(
        (bound for encoding in encodings for pair in encoding.offsets for bound in pair),
        np.int32,
        2 * total,
    ).reshape(total, 2)
    return EncodedBatch(ids, offsets[:, 0].copy(), offsets[:, 1].copy(), rows)


def spell(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The text that ids spell one by one, and each token's bounds in it, also where no text gives these ids."""
    stream = DecodeStream(skip_special_tokens=False)
    bounds = []
    parts: list[str] = []
    position = 0
    for token in ids:
        part = stream.step(tokenizer.backend, token) or ""
        bounds.append((position, position + len(part)))
        parts.append(part)
        position += len(part)
    return "".join(parts), bounds
