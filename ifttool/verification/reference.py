"""One input row → its samples by the reference path: plain Jinja, ``tokenizers`` with offsets, nothing compiled."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ifttool.encode import Encoder, limit_turns, row_mask
from ifttool.errors import RowError, RunError
from ifttool.fit import truncated, truncation_length
from ifttool.preparing.prepared import Prepared
from ifttool.preparing.preparer import Preparer
from ifttool.preparing.reading import read_conversation
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import IntArray, MaskArray, Samples
from ifttool.template.chat_template import ChatTemplate
from ifttool.tokenizer.load import Tokenizer


@dataclass(frozen=True, slots=True)
class ReferenceSample:
    """A sample as the reference path makes it.

    Attributes:
        turn: Message it was unrolled for; None for a whole conversation.
        ids: Token ids, shape (tokens,), int32.
        mask: 1 where a token is a training target, shape (tokens,), int8.
    """

    turn: int | None
    ids: IntArray
    mask: MaskArray


class Reference:
    """Derives samples under one recipe without plans, anchors, batches or fast encoders.

    Args:
        recipe: The options.
        template: The recipe's chat template.
        tokenizer: The tokenizer of the shards.
    """

    def __init__(self, recipe: Recipe, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        eos = tokenizer.special_tokens.get("eos_token")
        self._recipe, self._template = recipe, template
        self._preparer = Preparer(recipe, template, eos=eos, use_plans=False)
        self._encoder = Encoder(replace(recipe, backend="tokenizers"), tokenizer)

    def samples(self, row: RawRow) -> Iterator[ReferenceSample]:
        """The samples of a row, also those that the recipe leaves out.

        Raises:
            RowError: The row is rejected.
            RunError: The located text isn't what Jinja prints, which is a defect of ifttool.
        """
        conversation = read_conversation(row, self._recipe)
        for sample in self._preparer.prepare(row):
            prepared = sample.detail()
            self._check_text(prepared, conversation)
            try:
                yield self._sample(prepared)
            except RowError:
                continue  # left out for control tokens in its data

    def _check_text(self, prepared: Prepared, conversation: Conversation) -> None:
        """Traced renders carry marks through the template; they must print what plain Jinja prints."""
        turn = prepared.origin.turn
        messages = conversation.messages if turn is None else conversation.messages[: turn + 1]
        texts = list(prepared.analysis.texts)
        if prepared.policy.appended is not None:
            del texts[prepared.policy.appended[0]]
        if "".join(texts) != self._template.render(messages, conversation.tools):
            raise RunError(f"internal error: the text of {prepared.origin.place} isn't what the template prints")

    def _sample(self, prepared: Prepared) -> ReferenceSample:
        encoded = self._encoder.careful(prepared)
        mask = row_mask(prepared, encoded)
        if self._recipe.turn_tokens != (None, None):
            limit_turns(mask, prepared, encoded, self._recipe.turn_tokens)
        samples = Samples(encoded.ids, mask, encoded.rows, [prepared.origin])
        limit = self._recipe.max_length
        if self._recipe.overflow == "truncate" and limit is not None and len(mask) > limit:
            kept, _ = truncation_length(mask, encoded, prepared.turns, limit)
            samples = truncated(samples, np.array([kept], np.int64))
        return ReferenceSample(prepared.origin.turn, samples.ids, samples.mask)
