"""Encoded rows → samples: masked, fitted, checked, and each row booked."""

from collections.abc import Mapping, Sequence

import numpy as np

from ifttool.arranging.draw import DUPLICATE, NOT_TAKEN
from ifttool.batch import Batch
from ifttool.booking import Refuse, count_rows, count_samples, leave_out
from ifttool.crosscheck import CrossCheck
from ifttool.encode import Encoded, Encoder, Flat, Sample, limit_turns
from ifttool.errors import RowError
from ifttool.fit import truncated, truncation_length
from ifttool.ledger import Tally
from ifttool.recipe import Recipe
from ifttool.records import RawRow
from ifttool.samples import Samples


class Finisher:
    """Finishes batches of rows under one recipe.

    Args:
        recipe: The options.
        encoder: Makes the masks, and encodes again what needs care.
        crosscheck: Compares some rows with the reference path.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder, crosscheck: CrossCheck) -> None:
        self._recipe, self._encoder, self._crosscheck = recipe, encoder, crosscheck

    def finish(self, batch: Batch, flat: Flat | RowError, tally: Tally, refuse: Refuse) -> Samples:
        """Mask and fit a batch of rows that is encoded, and book each of them."""
        batch, encoded = self._masked(batch, flat, tally, refuse)
        prepared = batch.samples
        samples = Samples(encoded.ids, encoded.mask, encoded.rows, [sample.origin for sample in prepared])
        if self._recipe.turn_tokens != (None, None):
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

    def _masked(self, batch: Batch, flat: Flat | RowError, tally: Tally, refuse: Refuse) -> tuple[Batch, Encoded]:
        """Ids and masks of a batch; if the tokenizer panics, find the rows that made it, reject them and go on."""
        try:
            if isinstance(flat, RowError):
                raise flat
            return batch, self._encoder.masked(batch.samples, flat)
        except RowError:
            kept = Batch()
            for row, own in batch.by_row():
                samples = batch.samples[own.start : own.stop]
                try:
                    self._encoder.masked(samples, self._encoder.flat(samples))
                except RowError as error:
                    self.leave_out(row, error, tally, refuse)
                else:
                    kept.add(row, samples)
            return kept, self._encoder.masked(kept.samples, self._encoder.flat(kept.samples))

    def _limit_turns(self, samples: Samples, prepared: Sequence[Sample], refused: Mapping[int, RowError]) -> None:
        """Mask turns that are too short or too long; needs offsets, so every row goes the reference way."""
        for index, sample in enumerate(prepared):
            if index not in refused:
                mask = samples.mask[samples.rows[index] : samples.rows[index + 1]]
                detail = sample.detail()
                limit_turns(mask, detail, self._encoder.careful(detail), self._recipe.turn_tokens)

    def _truncate(
        self, samples: Samples, prepared: Sequence[Sample], refused: Mapping[int, RowError]
    ) -> tuple[Samples, set[int]]:
        """Cut over-long samples if the recipe says so; gives those that were cut inside a turn."""
        limit = self._recipe.max_length
        if self._recipe.overflow != "truncate" or limit is None:
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
        limit = self._recipe.max_length
        lengths = np.diff(samples.rows)
        for index in np.flatnonzero(lengths > limit).tolist() if limit is not None else ():
            reasons.setdefault(index, RowError("IFT402", f"{lengths[index]} tokens, the limit is {limit}"))
        for index in np.flatnonzero(samples.trained_per_row() == 0).tolist() if self._recipe.bears_loss else ():
            reasons.setdefault(index, RowError("IFT401", "no token of the sample would be trained"))
        return reasons

    def _check(self, batch: Batch, samples: Samples, refused: Mapping[int, RowError]) -> None:
        """Compare some rows with what the reference path makes of them."""
        for index in self._crosscheck.chosen(batch.rows):
            own = range(batch.stops[index - 1] if index else 0, batch.stops[index])
            self._crosscheck.check(batch.rows[index], [samples.row(one) for one in own if one not in refused])

    def _kept(self, batch: Batch, reasons: dict[int, RowError], tally: Tally, refuse: Refuse) -> list[int]:
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
            self.leave_out(row, reason, tally, refuse)
            reasons.update(dict.fromkeys(own, reason))
        return kept

    def _is_drop(self, error: RowError) -> bool:
        """Whether an option asks to leave such a row out quietly; otherwise it is rejected."""
        recipe = self._recipe
        return (
            error.code in ("IFT401", DUPLICATE, NOT_TAKEN)
            or (error.code == "IFT402" and recipe.overflow == "drop")
            or (error.code == "IFT403" and recipe.content_specials == "drop")
            or (error.code in ("IFT501", "IFT502", "IFT503") and recipe.on_mismatch == "drop")
        )

    def leave_out(self, row: RawRow, error: RowError, tally: Tally, refuse: Refuse) -> None:
        """Book a row that gives no sample."""
        leave_out(row.place, row.data, error, tally, refuse, dropped=self._is_drop(error))
