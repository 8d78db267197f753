"""Prepared samples → token ids: whole texts first, with care for the rows that need it."""

from collections.abc import Sequence

from ifttool.errors import RowError
from ifttool.prepare import Prepared
from ifttool.recipe import Recipe
from ifttool.tokenizer.boundary import crossed, encode_split
from ifttool.tokenizer.control import ControlTokens
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.load import Tokenizer
from ifttool.tokenizer.reference import encode_texts, encode_with


class Encoder:
    """Encodes batches of samples under one recipe."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._control = ControlTokens(tokenizer) if recipe.content_specials != "allow" else None
        self._refuses = recipe.content_specials in ("error", "drop")
        self._splits = recipe.boundary == "split"

    def encode(self, samples: Sequence[Prepared]) -> tuple[EncodedBatch, dict[int, RowError]]:
        """Ids and offsets of every sample, and the samples that the recipe refuses for control tokens in them.

        Raises:
            RowError: ``IFT404`` if the tokenizer panics on one of the texts.
        """
        encoded = encode_texts(self._tokenizer, [sample.text for sample in samples])
        forged: list[int] = []
        if self._control is not None:
            layouts = [sample.analysis.layout for sample in samples]
            forged = self._control.forged(encoded, layouts, [sample.positions for sample in samples])
        if self._refuses:
            error = RowError(
                "IFT403",
                "the data holds text that the tokenizer takes for a control token",
                hint="--content-specials text keeps it as plain text",
            )
            return encoded, dict.fromkeys(forged, error)
        careful = set(forged)
        if self._splits:
            careful.update(
                index for index, sample in enumerate(samples) if crossed(encoded.row(index), sample.starts)
            )
        return encoded.replaced({index: self._careful(samples[index], index in forged) for index in careful}), {}

    def _careful(self, sample: Prepared, forged: bool) -> EncodedBatch:
        """Encode one sample with only the template's control tokens, split where a token straddles."""
        backend, text = self._tokenizer.backend, sample.text
        if forged and self._control is not None:
            backend, text = self._control.encode(text, sample.analysis.layout, sample.positions)
        encoded = encode_with(backend, [text])
        points = crossed(encoded, sample.starts) if self._splits else []
        return encode_split(backend, text, points) if points else encoded
