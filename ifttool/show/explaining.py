"""One prepared sample → which of its tokens are trained, and why."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ifttool.encode import Encoder, limit_turns, row_mask
from ifttool.errors import RowError
from ifttool.fit import truncated, truncation_length
from ifttool.masks import straddling
from ifttool.preparing.prepared import Prepared
from ifttool.preparing.reasoning import subtract
from ifttool.recipe import Recipe
from ifttool.records import Interval
from ifttool.samples import MaskArray, Samples
from ifttool.show.explanation import Explanation, Span, Token, TurnNote
from ifttool.show.reasons import AFTER_TURN, Reasons
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.load import Tokenizer
from ifttool.tokenizer.reference import encode_texts

FIRST_TOKEN = "first token of the row is never a target"
STRADDLES = "token starts before the completion (straddles)"
ENDS_LATE = "starts inside the completion, ends after it"


def explain(
    prepared: Prepared,
    tokenizer: Tokenizer,
    recipe: Recipe,
    *,
    encoder: Encoder | None = None,
    flags: Sequence[bool | None] = (),
) -> Explanation:
    """Say of every token of a sample whether it is trained, and why.

    Ids and loss mask are those of the reference path, with offsets; ``mask`` writes the same.

    Args:
        prepared: The sample, as ``Preparer.prepare`` gives it.
        tokenizer: The recipe's tokenizer.
        recipe: The recipe it was prepared with.
        encoder: An encoder of this recipe and tokenizer, to be used for many samples.
        flags: The row's own training flag of each message, as ``Conversation.train``; reasons name them.

    Raises:
        RowError: ``IFT404`` if the tokenizer fails on the text.
    """
    encoded, left_out = _encoded(prepared, tokenizer, encoder or Encoder(recipe, tokenizer))
    mask = row_mask(prepared, encoded)
    by_length = _masked_by_length(mask, encoded, prepared, recipe)
    samples, cut_inside = _fitted(encoded, mask, prepared, recipe)
    kept = len(samples.ids)
    text = prepared.text if kept == len(encoded.ids) else prepared.text[: int(encoded.ends[:kept].max(initial=0))]
    in_turns = zip(prepared.turns, prepared.extents, strict=True)
    trained = subtract(prepared.trained, [extent for (start, _), extent in in_turns if start in by_length])
    reasons = Reasons(prepared, recipe, flags, by_length)
    spans = _spans(prepared, reasons, trained, stop=len(text), starts=encoded.starts[:kept].tolist())
    turns = _turns(prepared)
    findings = {code for turn in turns for code in turn.codes}
    if straddling(encoded, [prepared.starts])[0]:
        findings.add("IFT505")
    if cut_inside:
        findings.add("IFT506")
    return Explanation(
        samples.origins[0],
        text,
        tuple(_tokens(encoded, samples, spans, prepared)),
        spans,
        turns,
        tuple(sorted(findings)),
        notes=(f"{len(encoded.ids) - kept} tokens are cut off the end",) if kept < len(encoded.ids) else (),
        left_out=left_out,
    )


def _encoded(prepared: Prepared, tokenizer: Tokenizer, encoder: Encoder) -> tuple[EncodedBatch, str]:
    """Ids with offsets, and why the recipe leaves the sample out for what is in its text, if it does."""
    try:
        return encoder.careful(prepared), ""
    except RowError as error:
        if error.code == "IFT404":
            raise
        return encode_texts(tokenizer, [prepared.text]), f"{error.code}: {error.message}"


def _masked_by_length(mask: MaskArray, encoded: EncodedBatch, prepared: Prepared, recipe: Recipe) -> frozenset[int]:
    """Apply ``turn_tokens`` to the mask; returns the first characters of the turns it took out."""
    if recipe.turn_tokens == (None, None):
        return frozenset()
    before = mask.copy()
    limit_turns(mask, prepared, encoded, recipe.turn_tokens)
    lost = encoded.starts[before != mask]
    return frozenset(start for start, stop in prepared.turns if ((lost >= start) & (lost < stop)).any())


def _fitted(encoded: EncodedBatch, mask: MaskArray, prepared: Prepared, recipe: Recipe) -> tuple[Samples, bool]:
    """The sample within the length limit, and whether it was cut inside a turn."""
    samples = Samples(encoded.ids, mask, encoded.rows, [prepared.origin])
    limit = recipe.max_length
    if recipe.overflow != "truncate" or limit is None or len(mask) <= limit:
        return samples, False
    kept, inside = truncation_length(mask, encoded, prepared.turns, limit)
    return truncated(samples, np.array([kept], np.int64)), inside


def _spans(
    prepared: Prepared, reasons: Reasons, trained: Sequence[Interval], *, stop: int, starts: list[int]
) -> tuple[Span, ...]:
    """The text up to ``stop`` in stretches of the same message, kind and fate; ``starts`` are those of tokens."""
    layout = prepared.analysis.layout
    spans: list[Span] = []
    for low, high, index in _cut(prepared, trained, stop):
        label = layout.labels[index]
        is_trained = any(start <= low < end for start, end in trained)
        after = not is_trained and _follows_turn(prepared, index, low) and prepared.text[low:high].isspace()
        reason = AFTER_TURN if after else reasons.of_piece(index, trained=is_trained)
        message = max(label.message, label.turn)
        owner = None if message < 0 else message
        role = None if message < 0 else layout.roles[message]
        span = Span(low, high, 0, owner, role, label.kind, is_trained, reason)
        if spans and replace(span, start=spans[-1].start) == replace(spans[-1], stop=high):
            spans[-1] = replace(spans[-1], stop=high)
        else:
            spans.append(span)
    counts = np.diff(np.searchsorted(starts, [*(span.start for span in spans), stop + 1])).tolist()
    return tuple(replace(span, tokens=count) for span, count in zip(spans, counts, strict=True))


def _cut(prepared: Prepared, trained: Sequence[Interval], stop: int) -> Iterator[tuple[int, int, int]]:
    """Pieces cut where training starts and stops, and behind white space after a turn: start, stop, piece."""
    at = prepared.positions
    bounds = {bound for interval in trained for bound in interval}
    for index, (low, high) in enumerate(pairwise(at)):
        inside = {bound for bound in bounds if low < bound < high}
        if _follows_turn(prepared, index, low):
            text = prepared.text[low:high]
            inside.add(low + len(text) - len(text.lstrip()))
        cuts = sorted({low, high, *inside})
        for start, end in pairwise(cuts):
            if start < stop:
                yield start, min(end, stop), index


def _follows_turn(prepared: Prepared, index: int, position: int) -> bool:
    """Whether a position in piece ``index`` is where an end-of-turn token has just ended."""
    labels = prepared.analysis.layout.labels
    return (
        index > 0
        and labels[index].turn < 0
        and labels[index].kind == "scaffold"
        and labels[index - 1].kind == "end_of_turn"
        and position == prepared.positions[index]
    )


def _tokens(encoded: EncodedBatch, samples: Samples, spans: Sequence[Span], prepared: Prepared) -> Iterator[Token]:
    begins = [span.start for span in spans]
    turns = prepared.starts
    ends = [end for _, end in prepared.trained]
    columns = (samples.ids, encoded.starts, encoded.ends, samples.mask)
    rows = zip(*(column[: len(samples.ids)].tolist() for column in columns), strict=True)
    for index, (token_id, start, stop, trained) in enumerate(rows):
        span = spans[max(0, bisect_right(begins, start) - 1)]
        reason, stray = span.reason, True
        if index == 0 and span.trained:
            reason = FIRST_TOKEN
        elif not trained and _has_between(turns, start, stop):
            reason = STRADDLES
        elif trained and _has_between(ends, start, stop):
            reason = ENDS_LATE
        else:
            stray = False
        yield Token(token_id, start, stop, bool(trained), reason, stray)


def _has_between(points: Sequence[int], low: int, high: int) -> bool:
    """Whether one of the sorted points lies strictly between two positions."""
    index = bisect_right(points, low)
    return index < len(points) and points[index] < high


def _turns(prepared: Prepared) -> tuple[TurnNote, ...]:
    layout = prepared.analysis.layout
    return tuple(
        TurnNote(
            turn.message,
            layout.roles[turn.message],
            turn.verdict.value,
            (*((turn.verdict.code,) if turn.verdict.code else ()), *(() if turn.ends else ("IFT504",))),
        )
        for turn in layout.turns
    )
