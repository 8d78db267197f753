"""Rows in, finished samples out: one worker holds one template and one tokenizer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from ifttool.arranging.draw import DUPLICATE, NOT_TAKEN, Chooser, Draw
from ifttool.background import Background
from ifttool.booking import Refuse, book_lines, book_skipped, count_rows, count_samples, leave_out
from ifttool.crosscheck import CrossCheck
from ifttool.encode import Encoded, Encoder, Flat, Sample, limit_turns
from ifttool.errors import RowError, TemplateError
from ifttool.fit import truncated, truncation_length
from ifttool.io.source import SkippedLine
from ifttool.ledger import Tally
from ifttool.memory import release_freed_memory
from ifttool.preparing.preparer import Preparer
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.samples import Samples
from ifttool.template.analyser import Analyser
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.turns import MARKER
from ifttool.tokenizer.fast_load import FastLoad
from ifttool.tokenizer.load import Tokenizer, load_tokenizer

# Enough text to keep the encoder busy, little enough that its token objects stay small (about 60 MB).
BATCH_CHARS = 1 << 20
_HANDFUL_BYTES = 1 << 17


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


def _handfuls(items: Iterable[RawRow | SkippedLine]) -> Iterator[list[RawRow | SkippedLine]]:
    """Some lines at a time, as much as the caches of a core hold."""
    some: list[RawRow | SkippedLine] = []
    held = 0
    for item in items:
        some.append(item)
        held += item.place.byte_len
        if held >= _HANDFUL_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


class _Batch(msgspec.Struct, gc=False):
    """Rows, and the samples prepared from them one behind the other.

    Attributes:
        rows: The rows.
        samples: The samples of all rows.
        stops: For each row, the number of samples up to its last one.
        chars: Characters of all samples.
    """

    rows: list[RawRow] = msgspec.field(default_factory=list)
    samples: list[Sample] = msgspec.field(default_factory=list)
    stops: list[int] = msgspec.field(default_factory=list)
    chars: int = 0

    def add(self, row: RawRow, samples: Sequence[Sample]) -> None:
        self.rows.append(row)
        self.samples.extend(samples)
        self.stops.append(len(self.samples))
        for sample in samples:
            self.chars += len(sample.text)

    def by_row(self) -> Iterator[tuple[RawRow, range]]:
        """Each row, and which samples are its own."""
        start = 0
        for row, stop in zip(self.rows, self.stops, strict=True):
            yield row, range(start, stop)
            start = stop


class Worker:
    """Turns rows into samples under one recipe.

    Args:
        recipe: The options.
        eager: Whether to load the fast encoder at once, beside the rest; it is needed for much text only.
        fast: The recipe's fast encoder, if that is being loaded already.

    Attributes:
        has_spare_core: Whether there is a core for threads that encode and write; without one they'd cost a tenth.

    Raises:
        TemplateError: The template doesn't compile, or ends turns with a token that the tokenizer lacks.
        TokenizerError: The tokenizer can't be used.
    """

    def __init__(self, recipe: Recipe, *, eager: bool = False, fast: FastLoad | None = None) -> None:
        self.recipe = recipe
        self.has_spare_core = False
        self._fast = fast or FastLoad(recipe.tokenizer)
        if eager and recipe.backend != "tokenizers":
            self._fast.start()
        self.tokenizer: Tokenizer = load_tokenizer(recipe.tokenizer)
        self.template = build_template(recipe, self.tokenizer.special_tokens)
        self._encoder = Encoder(recipe, self.tokenizer, self._fast)
        self._preparer = Preparer(
            recipe,
            self.template,
            eos=self.tokenizer.special_tokens.get("eos_token"),
            has_anchors=self._encoder.has_anchors,
        )
        self._crosscheck = CrossCheck(recipe, self.template, self.tokenizer)

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

    def rehearse(self, rows: Iterable[RawRow]) -> None:
        """Learn the template on rows while the fast encoder loads, and wait for that. The rows give nothing else."""
        if self.recipe.backend != "tokenizers":
            self._fast.start()
            for row in rows:
                if self._fast.is_done:
                    break
                next(self._preparer.prepare_each([row]))
            self._fast.result()
        self._preparer.renders.clear()
        release_freed_memory()

    def samples(
        self, items: Iterable[RawRow | SkippedLine], tally: Tally, refuse: Refuse, *, draw: Draw | None = None
    ) -> Iterator[Samples]:
        """Samples of the rows that ``draw`` takes (None: all), in batches and in order; counts all into ``tally``."""
        with Background[Flat | RowError](beside=self.has_spare_core) as encoding:
            batch = _Batch()
            for following in self._batches(items, tally, refuse, None if draw is None else draw.open()):
                # A batch is encoded while the one before is finished and the next prepared: encoders hold no GIL.
                if (flat := encoding.start(self._flat, following)) is not None:
                    yield self._finish(batch, flat, tally, refuse)
                batch = following
            if (flat := encoding.result()) is not None:
                yield self._finish(batch, flat, tally, refuse)
        tally.renders += self._preparer.renders
        self._preparer.renders.clear()

    def _batches(
        self, items: Iterable[RawRow | SkippedLine], tally: Tally, refuse: Refuse, chooser: Chooser | None
    ) -> Iterator[_Batch]:
        """Prepared rows, enough of them at a time to keep the encoder busy; books those that can't be prepared."""
        batch = _Batch()
        for handful in _handfuls(items):
            book_lines(handful, tally)
            prepared = self._preparer.prepare_each([item for item in handful if isinstance(item, RawRow)], chooser)
            for item in handful:
                if isinstance(item, SkippedLine):
                    book_skipped(item, tally, refuse)
                    continue
                samples = next(prepared)
                if isinstance(samples, RowError):
                    self._leave_out(item, samples, tally, refuse)
                    continue
                batch.add(item, samples)
                if batch.chars >= BATCH_CHARS:
                    yield batch
                    batch = _Batch()
        if batch.rows:
            yield batch

    def _flat(self, batch: _Batch) -> Flat | RowError:
        """The ids of a batch, or the failure of the tokenizer on one of its texts."""
        try:
            return self._encoder.flat(batch.samples)
        except RowError as error:
            return error

    def _finish(self, batch: _Batch, flat: Flat | RowError, tally: Tally, refuse: Refuse) -> Samples:
        """Mask and fit a batch of rows that is encoded, and book each of them."""
        batch, encoded = self._masked(batch, flat, tally, refuse)
        prepared = batch.samples
        samples = Samples(encoded.ids, encoded.mask, encoded.rows, [sample.origin for sample in prepared])
        if self.recipe.turn_tokens != (None, None):
            self._limit_turns(samples, prepared, encoded.refused)
        samples, cut_inside = self._truncate(samples, prepared, encoded.refused)
        reasons = self._reasons(samples, prepared, encoded.refused)
        self._check(batch, samples, encoded.refused)
        last = batch.stops if not reasons else self._kept(batch, reasons, tally, refuse)
        count_rows([prepared[stop - 1] for stop in last], tally)
        kept = [index for index in range(len(prepared)) if index not in reasons] if reasons else range(len(prepared))
        count_samples([prepared[index] for index in kept], tally)
        for index in kept if cut_inside or encoded.straddles.any() else ():
            tally.note("IFT505", prepared[index].origin.place, int(encoded.straddles[index]))
            tally.note("IFT506", prepared[index].origin.place, index in cut_inside)
        samples = samples.take(np.isin(np.arange(len(prepared)), list(reasons), invert=True))
        tally.samples += len(samples)
        tally.tokens += len(samples.ids)
        tally.trained_tokens += int(samples.mask.sum(dtype=np.int64))
        return samples

    def _masked(self, batch: _Batch, flat: Flat | RowError, tally: Tally, refuse: Refuse) -> tuple[_Batch, Encoded]:
        """Ids and masks of a batch; if the tokenizer panics, find the rows that made it, reject them and go on."""
        try:
            if isinstance(flat, RowError):
                raise flat
            return batch, self._encoder.masked(batch.samples, flat)
        except RowError:
            kept = _Batch()
            for row, own in batch.by_row():
                samples = batch.samples[own.start : own.stop]
                try:
                    self._encoder.masked(samples, self._encoder.flat(samples))
                except RowError as error:
                    self._leave_out(row, error, tally, refuse)
                else:
                    kept.add(row, samples)
            return kept, self._encoder.masked(kept.samples, self._encoder.flat(kept.samples))

    def _limit_turns(self, samples: Samples, prepared: Sequence[Sample], refused: Mapping[int, RowError]) -> None:
        """Mask turns that are too short or too long; needs offsets, so every row goes the reference way."""
        for index, sample in enumerate(prepared):
            if index not in refused:
                mask = samples.mask[samples.rows[index] : samples.rows[index + 1]]
                detail = sample.detail()
                limit_turns(mask, detail, self._encoder.careful(detail), self.recipe.turn_tokens)

    def _truncate(
        self, samples: Samples, prepared: Sequence[Sample], refused: Mapping[int, RowError]
    ) -> tuple[Samples, set[int]]:
        """Cut over-long samples if the recipe says so; gives those that were cut inside a turn."""
        limit = self.recipe.max_length
        if self.recipe.overflow != "truncate" or limit is None:
            return samples, set()
        kept = np.diff(samples.rows)
        inside = set()
        for index in np.flatnonzero(kept > limit).tolist():
            if index in refused:
                continue
            mask = samples.mask[samples.rows[index] : samples.rows[index + 1]]
            detail = prepared[index].detail()
            kept[index], cuts = truncation_length(mask, self._encoder.careful(detail), detail.turns, limit)
            if cuts:
                inside.add(index)
        return truncated(samples, kept), inside

    def _reasons(
        self, samples: Samples, prepared: Sequence[Sample], refused: Mapping[int, RowError]
    ) -> dict[int, RowError]:
        """Why samples are left out, by index; the others are kept."""
        reasons = dict(refused)
        for index, sample in enumerate(prepared):
            if sample.refused is not None:
                reasons.setdefault(index, sample.refused)
        limit = self.recipe.max_length
        lengths = np.diff(samples.rows)
        for index in np.flatnonzero(lengths > limit).tolist() if limit is not None else ():
            reasons.setdefault(index, RowError("IFT402", f"{lengths[index]} tokens, the limit is {limit}"))
        for index in np.flatnonzero(samples.trained_per_row() == 0).tolist() if self.recipe.bears_loss else ():
            reasons.setdefault(index, RowError("IFT401", "no token of the sample would be trained"))
        return reasons

    def _check(self, batch: _Batch, samples: Samples, refused: Mapping[int, RowError]) -> None:
        """Compare some rows with what the reference path makes of them."""
        for index in self._crosscheck.chosen(batch.rows):
            own = range(batch.stops[index - 1] if index else 0, batch.stops[index])
            self._crosscheck.check(batch.rows[index], [samples.row(one) for one in own if one not in refused])

    def _kept(self, batch: _Batch, reasons: dict[int, RowError], tally: Tally, refuse: Refuse) -> list[int]:
        """The stops of rows that give samples; the others are booked as dropped or rejected.

        One sample that is an error rejects the whole row.
        """
        kept = []
        for row, own in batch.by_row():
            found = [reasons[index] for index in own if index in reasons]
            fatal = next((reason for reason in found if not self._is_drop(reason)), None)
            if fatal is None and len(found) < len(own):
                tally.samples_dropped.update(reason.code for reason in found)
                kept.append(own.stop)
                continue
            reason = fatal or found[0]
            self._leave_out(row, reason, tally, refuse)
            reasons.update(dict.fromkeys(own, reason))
        return kept

    def _is_drop(self, error: RowError) -> bool:
        """Whether an option asks to leave such a row out quietly; otherwise it is rejected."""
        recipe = self.recipe
        return (
            error.code in ("IFT401", DUPLICATE, NOT_TAKEN)
            or (error.code == "IFT402" and recipe.overflow == "drop")
            or (error.code == "IFT403" and recipe.content_specials == "drop")
            or (error.code in ("IFT501", "IFT502", "IFT503") and recipe.on_mismatch == "drop")
        )

    def _leave_out(self, row: RawRow, error: RowError, tally: Tally, refuse: Refuse) -> None:
        """Book a row that gives no sample."""
        leave_out(row.place, row.data, error, tally, refuse, dropped=self._is_drop(error))
