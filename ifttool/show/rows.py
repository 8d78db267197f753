"""Rows of conversations → explained samples, and which of them are wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from ifttool.encode import Encoder
from ifttool.errors import RowError, RunError, UsageError
from ifttool.findings import CODES
from ifttool.io.source import SkippedLine, read_rows
from ifttool.ledger import Tally
from ifttool.preparing.preparer import Preparer
from ifttool.preparing.reading import read_conversation
from ifttool.recipe import Recipe
from ifttool.records import Conversation, Place, RawRow
from ifttool.samples import Origin, Samples
from ifttool.show.differing import Difference, compare, paired
from ifttool.show.explaining import explain
from ifttool.show.explanation import Explanation, Item, Refusal
from ifttool.template.turns import Verdict
from ifttool.worker import Worker

VERDICTS = (*(verdict.value for verdict in Verdict), "none")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which samples are wanted: those that fit every set that isn't empty.

    Attributes:
        lines: Line numbers of input rows (row numbers of Parquet), from 1: what stands behind the colon.
        ids: Identifiers of rows, or of unrolled samples.
        verdicts: Worst verdicts of samples.
        codes: Findings about samples, reasons to leave them out, or reasons to reject a row.
    """

    lines: frozenset[int] = frozenset()
    ids: frozenset[str] = frozenset()
    verdicts: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()

    def check(self) -> None:
        """Refuse what can't be met.

        Raises:
            UsageError: There is no such verdict or code.
        """
        for verdict in sorted(self.verdicts.difference(VERDICTS)):
            raise UsageError(f"there is no verdict {verdict!r}", hint=f"choose one of {', '.join(VERDICTS)}")
        for code in sorted(self.codes.difference(CODES)):
            raise UsageError(f"there is no code {code!r}", hint="codes look like IFT504")

    def wants_line(self, line: int) -> bool:
        """Whether a row of this number may hold what is wanted."""
        return not self.lines or line in self.lines

    def wants_origin(self, origin: Origin, row_id: str | None) -> bool:
        """Whether a sample of this origin may be wanted."""
        return (
            self.wants_line(origin.place.line)
            and (not self.ids or origin.id in self.ids or row_id in self.ids)
            and (not self.verdicts or origin.verdict in self.verdicts)
        )

    def wants(self, item: Item) -> bool:
        """Whether a sample, of a row that is wanted, or a rejected row is wanted."""
        if isinstance(item, Explanation):
            codes = {*item.findings, item.left_out.partition(":")[0]}
            fits = not self.verdicts or item.origin.verdict in self.verdicts
            return fits and (not self.codes or bool(self.codes & codes))
        return (
            self.wants_line(item.place.line)
            and not self.verdicts
            and (not self.ids or item.id in self.ids)
            and (not self.codes or item.code in self.codes)
        )


class RowExplainer:
    """Explains the samples of rows under one recipe.

    Raises:
        TemplateError: The template doesn't compile or doesn't fit the tokenizer.
        TokenizerError: The tokenizer can't be used.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._worker = Worker(recipe)
        self._worker.check_fit()
        tokenizer = self._worker.tokenizer
        self._preparer = Preparer(recipe, self._worker.template, eos=tokenizer.special_tokens.get("eos_token"))
        self._encoder = Encoder(recipe, tokenizer)

    def explain(self, row: RawRow | SkippedLine, choice: Choice) -> Iterator[Item]:
        """The wanted samples of a row, or why it has none; nothing for a blank line."""
        if not choice.wants_line(row.place.line):
            return
        if isinstance(row, SkippedLine):
            if row.error is not None:
                yield from _wanted_refusal(row.place, None, row.error, choice)
            return
        row_id = None
        try:
            conversation = read_conversation(row, self._recipe)
            row_id = conversation.id
            yield from self._samples(row, conversation, choice)
        except RowError as error:
            yield from _wanted_refusal(row.place, row_id, error, choice)

    def _samples(self, row: RawRow, conversation: Conversation, choice: Choice) -> Iterator[Explanation]:
        prepared = [sample.detail() for sample in self._preparer.prepare(row)]
        wanted = [sample for sample in prepared if choice.wants_origin(sample.origin, conversation.id)]
        if not wanted:
            return
        written = self._written(row)
        for sample in wanted:
            found = explain(
                sample, self._worker.tokenizer, self._recipe, encoder=self._encoder, flags=conversation.train
            )
            found = written.checked(found, refused=sample.refused)
            if choice.wants(found):
                yield found

    def _written(self, row: RawRow) -> "_Written":
        """What ``mask`` makes of the row."""
        refusals: list[RowError] = []
        tally = Tally()
        batches = list(self._worker.samples([row], tally, lambda *booked: refusals.append(booked[2])))
        return _Written(batches, refusals, frozenset(tally.samples_dropped))


@dataclass(frozen=True, slots=True)
class _Written:
    """What ``mask`` writes for one row, why it leaves the row out, and the codes of samples left out of it."""

    batches: Sequence[Samples]
    refusals: Sequence[RowError]
    dropped: frozenset[str]

    def checked(self, sample: Explanation, *, refused: RowError | None) -> Explanation:
        """The explanation with the sample's fate.

        Raises:
            RunError: It isn't about the tokens that are written, which is a defect of ifttool.
        """
        for samples in self.batches:
            for index, origin in enumerate(samples.origins):
                if origin.turn == sample.origin.turn:
                    low, high = int(samples.rows[index]), int(samples.rows[index + 1])
                    ids, mask = samples.ids[low:high].tolist(), samples.mask[low:high].tolist()
                    if (ids, mask) != _tokens(sample):
                        raise RunError(f"internal error: the explanation of {origin.place} isn't what mask writes")
                    return sample
        if sample.left_out:
            return sample
        error = next(iter(self.refusals), refused)
        if error is not None:
            return replace(sample, left_out=f"{error.code}: {error.message}")
        # Of a row that is kept in part, the ledger has the codes, not whose they are.
        fitting = [code for code in sorted(self.dropped) if (code == "IFT401") == (not sample.trained_tokens)]
        return replace(sample, left_out="; ".join(f"{code}: {CODES[code]}" for code in fitting))


def explained(
    sources: Sequence[str], recipe: Recipe, choice: Choice, *, stdin: BinaryIO | None = None
) -> Iterator[Item]:
    """The wanted samples and rejected rows of conversations, in order.

    Raises:
        UsageError: An option, the template, the tokenizer or an input can't be used.
        InputChanged: An input is damaged.
    """
    choice.check()
    explainer = RowExplainer(recipe)
    for row in _rows(sources, stdin):
        yield from explainer.explain(row, choice)


def differences(
    sources: Sequence[str], recipes: tuple[Recipe, Recipe], choice: Choice, *, stdin: BinaryIO | None = None
) -> Iterator[Difference]:
    """Every sample that one of two recipes makes of the input and that is wanted on either side, compared.

    Raises:
        UsageError: An option, a template, a tokenizer or an input can't be used.
        InputChanged: An input is damaged.
    """
    choice.check()
    before, after = (RowExplainer(recipe) for recipe in recipes)
    rows = Choice(lines=choice.lines, ids=choice.ids)
    for row in _rows(sources, stdin):
        for old, new in paired(list(before.explain(row, rows)), list(after.explain(row, rows))):
            if any(item is not None and choice.wants(item) for item in (old, new)):
                yield compare(old, new)


def _rows(sources: Sequence[str], stdin: BinaryIO | None) -> Iterator[RawRow | SkippedLine]:
    for source in sources:
        yield from read_rows(source, stdin=stdin)


def _tokens(sample: Explanation) -> tuple[list[int], list[int]]:
    return [token.id for token in sample.tokens], [int(token.trained) for token in sample.tokens]


def _wanted_refusal(place: Place, row_id: str | None, error: RowError, choice: Choice) -> Iterator[Refusal]:
    refusal = Refusal(place, row_id, error.code, error.message, error.path, error.hint)
    if choice.wants(refusal):
        yield refusal
