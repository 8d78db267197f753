"""Train/inference parity: what precedes an exact turn is its generation prompt, and what is trained its completion."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from masks.conversations import MARKED
from masks.expected import JinjaTexts, TransformersTexts, exact_spans, Tokens
from masks.generators import (
    Outcome,
    Row,
    Sample,
    cached_tokenizer,
    run,
    tokenizer_folder,
    tokenizer_names,
    tokenizer_path,
    worker,
)
from parity.corpus import all_names, template_text

FAST_STEP = 40

Problem = tuple[str, str, str]


class Checker:
    """Collects what is wrong with one template and tokenizer."""

    def __init__(self, template: str, tokenizer: str, texts: JinjaTexts) -> None:
        self._tokenizer, self._texts = tokenizer, texts
        # The property is about completions; `{% generation %}` tags are tested on their own.
        self._plain = worker(template, tokenizer, spans="completion")
        self._exact = worker(template, tokenizer, spans="completion", on_mismatch="mask")
        self._unrolling = worker(template, tokenizer, spans="completion", on_mismatch="mask", unroll="auto")
        self.problems: list[Problem] = []
        self.exact = 0

    def check(self, name: str, row: Row) -> None:
        full = self._texts(row["messages"], row.get("tools"))
        if not (full or "").strip():
            if run(self._plain, [row]).samples:
                self._say(name, "a sample of what the template refuses")
            return
        tokens = Tokens.of(self._tokenizer, full or "")
        exact = run(self._exact, [row])
        self._check_ids(name, exact, tokens, row)
        self._check_exact(name, row, tokens, exact, exact_spans(self._texts, row))
        if exact.tally.verdicts.keys() != {"exact"}:
            plain = run(self._plain, [row])
            self._check_ids(name, plain, tokens, row)
            if plain.tally.verdicts["history"]:
                self._check_unrolled(name, row)

    def _say(self, name: str, what: str, detail: object = "") -> None:
        self.problems.append((name, what, str(detail)))

    def _check_ids(self, name: str, outcome: Outcome, tokens: Tokens, row: Row) -> None:
        """Ids are those of the whole text, and no other message is trained on, whatever the verdict."""
        for sample in outcome.samples:
            if sample.ids != tokens.ids:
                self._say(name, "other ids")
            elif words := tokens.foreign_words(sample.mask, row["messages"]):
                self._say(name, "trains another message", words)

    def _check_exact(
        self, name: str, row: Row, tokens: Tokens, outcome: Outcome, spans: dict[int, tuple[int, int]]
    ) -> None:
        """The mask is that of as many expected completions as there are exact turns."""
        count = outcome.tally.verdicts["exact"]
        if not outcome.samples:
            return
        mask = outcome.samples[0].mask
        if outcome.samples[0].ids != tokens.ids:
            return  # said already
        claimed = {turn: span for turn, span in spans.items() if tokens.any_trained(mask, [span])}
        # A turn without a word and without an end-of-turn token: its white space may be anyone's.
        blank = [span for span in spans.values() if not tokens.text[slice(*span)].strip()]
        silent = sum(not any(tokens.mask([span])) for span in spans.values())
        if tokens.without(blank, mask) != tokens.without(blank, tokens.mask(list(claimed.values()))):
            self._say(name, "other tokens than the completions", claimed)
        elif not count - silent <= len(claimed) <= count:
            self._say(name, "another number of exact turns", (count, len(claimed)))
        self.exact += len(claimed)
        if count != len(spans):
            return
        other = 0
        for turn, (start, _) in ((turn, span) for turn, span in spans.items() if span[0] < span[1]):
            prompt = self._texts(row["messages"][:turn], row.get("tools"), prompt=True) or ""
            other += tokens.before(start) != Tokens.of(self._tokenizer, prompt).ids
        if other != outcome.tally.findings["IFT505"]:
            self._say(name, "other ids than the generation prompt", (other, outcome.tally.findings["IFT505"]))

    def _check_unrolled(self, name: str, row: Row) -> None:
        outcome = run(self._unrolling, [row])
        for sample in outcome.samples:
            assert sample.turn is not None
            part: Row = {**row, "messages": row["messages"][: sample.turn + 1]}
            text = self._texts(part["messages"], row.get("tools")) or ""
            tokens = Tokens.of(self._tokenizer, text)
            span = exact_spans(self._texts, part).get(sample.turn)
            if sample.ids != tokens.ids:
                self._say(name, "other ids unrolled")
            elif sample.verdict != "exact" or span is None or sample.mask != tokens.mask([span]):
                self._say(name, "other tokens than the completion, unrolled", (sample.verdict, span))
            else:
                self.exact += 1


def problems_with(name: str, tokenizers: list[str], texts_of: Callable[[str, str], JinjaTexts]) -> list[Problem]:
    template = template_text(name)
    problems = []
    for tokenizer in tokenizers:
        checker = Checker(template, tokenizer, texts_of(template, tokenizer))
        for chat, row in MARKED.items():
            checker.check(chat, row)
        problems += [(f"{tokenizer} {chat}", what, detail) for chat, what, detail in checker.problems]
    return problems


def jinja_texts(template: str, tokenizer: str) -> JinjaTexts:
    return JinjaTexts(template, cached_tokenizer(tokenizer_path(tokenizer)).special_tokens)


@pytest.fixture(scope="module")
def transformers_texts() -> Iterator[Callable[[str, str], JinjaTexts]]:
    pytest.importorskip("transformers")
    from parity import oracle  # noqa: PLC0415 - transformers takes seconds to import

    loaded: dict[str, Any] = {}

    def texts(template: str, tokenizer: str) -> JinjaTexts:
        if tokenizer not in loaded:
            loaded[tokenizer] = oracle.folder_tokenizer(tokenizer_folder(tokenizer))
        return TransformersTexts(template, loaded[tokenizer])

    with oracle.standing_clock():
        yield texts


@pytest.mark.parametrize("name", all_names()[::FAST_STEP])
def test_exact_turns_follow_their_generation_prompt(name: str) -> None:
    assert problems_with(name, ["default"], jinja_texts) == []


@pytest.mark.parity
@pytest.mark.parametrize("name", all_names())
def test_every_exact_turn_follows_its_generation_prompt(
    name: str, transformers_texts: Callable[[str, str], JinjaTexts]
) -> None:
    assert problems_with(name, tokenizer_names(), transformers_texts) == []
