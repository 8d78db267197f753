"""Rows in, finished samples out: one worker holds one template and one tokenizer."""

from collections.abc import Iterable, Iterator

from ifttool.arranging.draw import Chooser, Draw
from ifttool.background import Background
from ifttool.batch import Batch, handfuls
from ifttool.booking import Refuse, book_lines, book_skipped
from ifttool.crosscheck import CrossCheck
from ifttool.encode import Encoder, Flat
from ifttool.errors import RowError, TemplateError
from ifttool.finish import Finisher
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
        crosscheck = CrossCheck(recipe, self.template, self.tokenizer)
        self._finisher = Finisher(recipe, self._encoder, crosscheck)

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
            batch = Batch()
            for following in self._batches(items, tally, refuse, None if draw is None else draw.open()):
                # A batch is encoded while the one before is finished and the next prepared: encoders hold no GIL.
                if (flat := encoding.start(self._flat, following)) is not None:
                    yield self._finisher.finish(batch, flat, tally, refuse)
                batch = following
            if (flat := encoding.result()) is not None:
                yield self._finisher.finish(batch, flat, tally, refuse)
        tally.renders += self._preparer.renders
        self._preparer.renders.clear()

    def _batches(
        self, items: Iterable[RawRow | SkippedLine], tally: Tally, refuse: Refuse, chooser: Chooser | None
    ) -> Iterator[Batch]:
        """Prepared rows, enough of them at a time to keep the encoder busy; books those that can't be prepared."""
        batch = Batch()
        for handful in handfuls(items):
            book_lines(handful, tally)
            prepared = self._preparer.prepare_each([item for item in handful if isinstance(item, RawRow)], chooser)
            for item in handful:
                if isinstance(item, SkippedLine):
                    book_skipped(item, tally, refuse)
                    continue
                samples = next(prepared)
                if isinstance(samples, RowError):
                    self._finisher.leave_out(item, samples, tally, refuse)
                    continue
                batch.add(item, samples)
                if batch.chars >= BATCH_CHARS:
                    yield batch
                    batch = Batch()
        if batch.rows:
            yield batch

    def _flat(self, batch: Batch) -> Flat | RowError:
        """The ids of a batch, or the failure of the tokenizer on one of its texts."""
        try:
            return self._encoder.flat(batch.samples)
        except RowError as error:
            return error
