"""Prepared samples → ids and loss masks: whole texts first, with care for the rows that need it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ifttool.errors import RowError
from ifttool.fit import mask_turns_by_length
from ifttool.masks import loss_mask, widened, without_first
from ifttool.preparing.outline import Composition, Outline
from ifttool.preparing.policy import Policy
from ifttool.preparing.prepared import Prepared
from ifttool.recipe import Recipe
from ifttool.records import Interval
from ifttool.samples import IntArray, LongArray, MaskArray
from ifttool.template.layout import Layout
from ifttool.tokenizer.anchors import AnchorMasks, Anchors
from ifttool.tokenizer.boundary import crossed, encode_split
from ifttool.tokenizer.control import ControlTokens
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.fast_load import FastLoad
from ifttool.tokenizer.flat import FlatEncoder, flat_encoder
from ifttool.tokenizer.load import Tokenizer
from ifttool.tokenizer.reference import encode_with

Sample = Prepared | Outline

Flat = tuple[IntArray, LongArray]
"""Ids of whole texts one behind the other, int32, and where each text's begin and the total, int64."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids and loss masks of a batch.

    Attributes:
        ids: Token ids, shape (tokens,), int32.
        mask: 1 where a token is a training target, shape (tokens,), int8.
        rows: Where each sample's tokens begin, and the total; shape (samples + 1,), int64.
        straddles: How many tokens of each sample straddle the start of a completion, shape (samples,), int64.
        refused: Samples that the recipe leaves out for control tokens in their data.
    """

    ids: IntArray
    mask: MaskArray
    rows: LongArray
    straddles: LongArray
    refused: dict[int, RowError]


class Encoder:
    """Encodes batches of samples under one recipe.

    Args:
        recipe: The options.
        tokenizer: The tokenizer.
        fast: Its fast encoder, if that is being loaded already.

    Raises:
        TokenizerError: The recipe asks for a backend that can't encode exactly with this tokenizer.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, fast: FastLoad | None = None) -> None:
        self._tokenizer = tokenizer
        self._specials = recipe.content_specials
        self._splits = recipe.boundary == "split"
        self._flat: FlatEncoder = flat_encoder(tokenizer, recipe.backend, fast)
        self._control = ControlTokens(tokenizer)
        self._anchors = AnchorMasks(tokenizer, self._control, splits=self._splits)

    def has_anchors(self, policy: Policy) -> bool:
        """Whether what bears loss under a policy can be found in ids alone."""
        return self._anchors.of(policy) is not None

    def flat(self, samples: Sequence[Sample]) -> Flat:
        """The ids of the samples' whole texts. Safe beside :meth:`masked`, in another thread.

        Raises:
            RowError: ``IFT404`` if the tokenizer fails on one of the texts.
        """
        return self._flat.encode([sample.text for sample in samples])

    def masked(self, samples: Sequence[Sample], flat: Flat) -> Encoded:
        """Ids and masks of every sample, whose whole texts have the ids ``flat``.

        Raises:
            RowError: ``IFT404`` if the tokenizer fails on one of the texts when asked for offsets.
        """
        ids, rows = flat
        # Samples of one shape have the same anchors, and a batch has few shapes.
        numbers: dict[Composition | Layout, int] = {}
        which = np.array([numbers.setdefault(sample.shape, len(numbers)) for sample in samples], np.int64)
        firsts = np.unique(which, return_index=True)[1].tolist()
        anchors = [self._anchors_of(samples[first]) for first in firsts]
        mask, ok, straddles = self._anchors.masks(ids, rows, anchors, which)
        mask = without_first(mask, rows)
        encoded = Encoded(ids, mask, rows, straddles, {})
        left = np.flatnonzero(~ok).tolist()
        return self._with_care(samples, encoded, left) if left else encoded

    def _anchors_of(self, sample: Sample) -> Anchors | None:
        if isinstance(sample, Prepared):
            return self._anchors.of(sample.policy)
        return self._anchors.joined(sample.shape, everything=sample.everything)

    def careful(self, sample: Prepared) -> EncodedBatch:
        """One sample by the reference path, with offsets.

        Raises:
            RowError: ``IFT403`` if the recipe refuses the control tokens in its data, or they can't be told apart.
        """
        return self._careful(sample)[0]

    def _careful(self, sample: Prepared) -> tuple[EncodedBatch, int]:
        """One sample by the reference path, and how many of its completions start inside a token."""
        backend, text = self._tokenizer.backend, sample.text
        encoded = encode_with(backend, [text])
        layout = sample.analysis.layout
        if self._specials != "allow":
            self._refuse_untold(sample)
            if self._control.is_forged(encoded, text, layout, sample.positions):
                if self._specials != "text":
                    raise RowError(
                        "IFT403",
                        "the data holds text that the tokenizer takes for a control token",
                        hint="--content-specials text keeps it as plain text",
                    )
                backend, text = self._control.encode(text, layout, sample.positions)
                encoded = encode_with(backend, [text])
        points = crossed(backend, text, encoded, sample.starts)
        if points and self._splits:
            return encode_split(backend, text, points), 0
        return encoded, len(points)

    def _refuse_untold(self, sample: Prepared) -> None:
        """Refuse data that holds control tokens, if nothing tells them from the template's own."""
        if sample.untold and self._control.are_in(sample.untold):
            raise RowError(
                "IFT403",
                "the data holds text that the tokenizer takes for a control token, and the template does with it what "
                "can't be followed",
                hint="--content-specials allow takes all of them for control tokens",
            )

    def _with_care(self, samples: Sequence[Sample], quick: Encoded, left: list[int]) -> Encoded:
        """Put the rows in ``left`` in by the reference path; the others stay as they are."""
        refused: dict[int, RowError] = {}
        straddles = quick.straddles.copy()
        new: dict[int, tuple[IntArray, MaskArray]] = {}
        for index in left:
            detail = samples[index].detail()
            try:
                encoded, straddles[index] = self._careful(detail)
            except RowError as error:
                if error.code == "IFT404":
                    raise
                refused[index] = error
                continue
            new[index] = (encoded.ids, row_mask(detail, encoded))
        id_parts, mask_parts = [], []
        for index in range(len(samples)):
            low, high = int(quick.rows[index]), int(quick.rows[index + 1])
            one = new.get(index, (quick.ids[low:high], quick.mask[low:high]))
            id_parts.append(one[0])
            mask_parts.append(one[1])
        lengths = np.array([len(part) for part in id_parts], np.int64)
        rows = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        return Encoded(np.concatenate(id_parts), np.concatenate(mask_parts), rows, straddles, refused)


def row_mask(sample: Prepared, encoded: EncodedBatch) -> MaskArray:
    """The loss mask of one sample from the offsets of its tokens, shape (tokens,), int8."""
    return loss_mask(encoded, [_from_tokens(sample, encoded, sample.trained)])


def limit_turns(
    mask: MaskArray, sample: Prepared, encoded: EncodedBatch, limits: tuple[int | None, int | None]
) -> None:
    """Apply ``turn_tokens`` to the mask of one sample: see :func:`ifttool.fit.mask_turns_by_length`."""
    mask_turns_by_length(mask, encoded, sample.turns, _from_tokens(sample, encoded, sample.extents), limits)


def _from_tokens(sample: Prepared, encoded: EncodedBatch, intervals: Sequence[Interval]) -> Sequence[Interval]:
    """Character intervals of one sample as they count for its tokens."""
    return widened(encoded, intervals) if sample.policy.blocks else intervals
