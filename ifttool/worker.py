"""Rows in, finished samples out: one worker holds one template and one tokenizer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ifttool.errors import RowError, TemplateError
from ifttool.io.source import SkippedLine
from ifttool.ledger import Tally
from ifttool.mask import loss_mask, straddling
from ifttool.prepare import Prepared, Preparer
from ifttool.recipe import Recipe
from ifttool.records import Conversation, Place, RawRow
from ifttool.samples import Samples
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.turns import MARKER
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.tokenizer.reference import encode_texts

# Enough text to keep the encoder busy, little enough that its token objects stay small (about 60 MB).
BATCH_CHARS = 1 << 20

Refuse = Callable[[Place, bytes | None, RowError, str], None]
"""Called for every row that is left out: place, bytes, reason, and ``rejected`` or ``dropped``."""


def build_template(recipe: Recipe, special_tokens: dict[str, str]) -> ChatTemplate:
    """The recipe's chat template, compiled.

    Raises:
        TemplateError: It doesn't compile.
    """
    return ChatTemplate(
        recipe.template,
        name=recipe.template_name,
        special_tokens=special_tokens,
        kwargs=recipe.template_kwargs,
        clock=recipe.clock,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row and the samples prepared from it."""

    row: RawRow
    samples: tuple[Prepared, ...]


class Worker:
    """Turns rows into samples under one recipe.

    Raises:
        TemplateError: The template doesn't compile, or ends turns with a token that the tokenizer lacks.
        TokenizerError: The tokenizer can't be used.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokenizer: Tokenizer = load_tokenizer(recipe.tokenizer)
        self.template = build_template(recipe, self.tokenizer.special_tokens)
        self._preparer = Preparer(recipe, self.template)

    def check_fit(self) -> None:
        """Refuse a template that ends its turns with a marker the tokenizer doesn't know as one token.

        Raises:
            TemplateError: The end-of-turn marker would be cut into pieces of plain text.
        """
        probe = Conversation([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
        try:
            analysis = Analyser(self.template, use_plans=False).analyse(probe, [1])
        except RowError:
            return  # a template for other conversations than this one; its rows will tell
        start, stop = analysis.layout.turns[0].end_of_turn
        for marker in MARKER.findall("".join(analysis.texts[start:stop])):
            if self.tokenizer.id_of(marker) is None and not self.recipe.allow_text_markers:
                raise TemplateError(
                    f"chat template {self.template.name} ends turns with {marker}, "
                    f"but tokenizer {self.tokenizer.name} has no such token",
                    hint="use the model's own template and tokenizer together, "
                    "or --allow-text-markers if it really is plain text for this model",
                )

    def samples(
        self, items: Iterable[RawRow | SkippedLine], tally: Tally, refuse: Refuse
    ) -> Iterator[Samples]:
        """Samples of the given rows, batch by batch and in order; counts everything into ``tally``."""
        batch: list[_Row] = []
        chars = 0
        for item in items:
            ledger = tally.of(item.place.source)
            ledger.lines += 1
            if isinstance(item, SkippedLine):
                if item.error is None:
                    ledger.blanks += 1
                else:
                    self._leave_out(item.place, None, item.error, tally, refuse)
                continue
            try:
                prepared = tuple(self._preparer.prepare(item))
            except RowError as error:
                self._leave_out(item.place, item.data, error, tally, refuse)
                continue
            batch.append(_Row(item, prepared))
            chars += sum(len(sample.text) for sample in prepared)
            if chars >= BATCH_CHARS:
                yield self._finish(batch, tally, refuse)
                batch, chars = [], 0
        if batch:
            yield self._finish(batch, tally, refuse)

    def _leave_out(
        self, place: Place, data: bytes | None, error: RowError, tally: Tally, refuse: Refuse
    ) -> None:
        """Book a row that gives no sample: policy drops it (``IFT401``, ``IFT402``), or it is rejected."""
        dropped = error.code == "IFT401" or (error.code == "IFT402" and self.recipe.overflow == "drop")
        ledger = tally.of(place.source)
        (ledger.dropped if dropped else ledger.rejected)[error.code] += 1
        refuse(place, data, error, "dropped" if dropped else "rejected")

    def _finish(self, batch: Sequence[_Row], tally: Tally, refuse: Refuse) -> Samples:
        """Encode, mask and fit a batch of rows."""
        batch, encoded = self._encode(batch, tally, refuse)
        prepared = [sample for row in batch for sample in row.samples]
        mask = loss_mask(encoded, [sample.trained for sample in prepared])
        samples = Samples(encoded.ids, mask, encoded.rows, [sample.origin for sample in prepared])
        reasons = self._reasons(samples)
        position = 0
        for row in batch:
            own = reasons[position : position + len(row.samples)]
            position += len(row.samples)
            self._book(row, own, tally, refuse)
        self._count(prepared, encoded, reasons, tally)
        kept = samples.take(np.array([reason is None for reason in reasons], dtype=np.bool_))
        tally.samples += len(kept)
        tally.tokens += len(kept.ids)
        tally.trained_tokens += int(kept.mask.sum(dtype=np.int64))
        return kept

    def _encode(
        self, batch: Sequence[_Row], tally: Tally, refuse: Refuse
    ) -> tuple[Sequence[_Row], EncodedBatch]:
        """Encode a batch; if the tokenizer panics, find the rows that made it, reject them and go on."""
        try:
            return batch, encode_texts(self.tokenizer, [s.text for row in batch for s in row.samples])
        except RowError:
            kept = []
            for row in batch:
                try:
                    encode_texts(self.tokenizer, [sample.text for sample in row.samples])
                except RowError as error:
                    self._leave_out(row.row.place, row.row.data, error, tally, refuse)
                else:
                    kept.append(row)
            return kept, encode_texts(self.tokenizer, [s.text for row in kept for s in row.samples])

    def _reasons(self, samples: Samples) -> list[RowError | None]:
        """Why each sample is left out; None if it is kept."""
        limit = self.recipe.max_length
        lengths = np.diff(samples.rows).tolist()
        trained = samples.trained_per_row().tolist()
        reasons: list[RowError | None] = []
        for length, targets in zip(lengths, trained, strict=True):
            if limit is not None and length > limit:
                reasons.append(RowError("IFT402", f"{length} tokens, the limit is {limit}"))
            elif not targets and self.recipe.bears_loss:
                reasons.append(RowError("IFT401", "no token of the sample would be trained"))
            else:
                reasons.append(None)
        return reasons

    def _book(self, row: _Row, reasons: Sequence[RowError | None], tally: Tally, refuse: Refuse) -> None:
        if any(reason is None for reason in reasons):
            tally.of(row.row.place.source).kept += 1
            tally.count_messages(row.samples[0].analysis.layout.roles)
            tally.samples_dropped.update(reason.code for reason in reasons if reason is not None)
        else:
            reason = next(reason for reason in reasons if reason is not None)
            self._leave_out(row.row.place, row.row.data, reason, tally, refuse)

    def _count(
        self,
        prepared: Sequence[Prepared],
        encoded: EncodedBatch,
        reasons: Sequence[RowError | None],
        tally: Tally,
    ) -> None:
        """Count verdicts and findings of the samples that are kept."""
        crossing = straddling(encoded, [sample.starts for sample in prepared]).tolist()
        for sample, reason, straddles in zip(prepared, reasons, crossing, strict=True):
            if reason is not None:
                continue
            place = sample.origin.place
            for turn in sample.analysis.layout.turns:
                tally.verdicts[turn.verdict.value] += 1
                if turn.verdict.code is not None:
                    tally.note(turn.verdict.code, place)
                tally.note("IFT504", place, not turn.ends)
            tally.note("IFT505", place, straddles)
