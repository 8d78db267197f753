"""Tokens at the start of a completion: which side they belong to, what is counted, and what `--boundary split` does."""

import random

import pytest

from ifttool.tokenizer.boundary import crossed, encode_split
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.reference import encode_with
from masks.expected import JinjaTexts, Tokens
from masks.generators import (
    assistant,
    backend,
    built_in,
    cached_tokenizer,
    call,
    only,
    random_row,
    row,
    run,
    shown,
    tokenizer_names,
    tokenizer_path,
    user,
    worker,
)  # fmt: skip

SPACED = "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
"""A template whose prompts end in a space, which tokenizers put in front of the word that follows."""
BLANK = SPACED.replace(": ", "\n\n")
"""One whose prompts end in a blank line, which GPT-2's pattern reads otherwise where something follows."""


def test_a_token_that_straddles_the_start_belongs_to_the_prompt_and_is_counted() -> None:
    made = worker(SPACED)
    outcome = run(made, [row(user("Hi"), assistant("go on"), user("Hi"), assistant("go"))])
    assert shown(SPACED, row(user("Hi"), assistant("go on"))) == "user: Hi</s>\nassistant: g«o on</s>»\n"
    assert outcome.tally.findings["IFT505"] == 2


def test_split_encodes_the_completion_on_its_own() -> None:
    chat = row(user("Hi"), assistant("go on"), user("Hi"), assistant("go"))
    text = "user: Hi</s>\nassistant: «go on</s>»\nuser: Hi</s>\nassistant: «go</s>»\n"
    assert shown(SPACED, chat, boundary="split") == text
    outcome = run(worker(SPACED, boundary="split"), [chat])
    assert outcome.tally.findings["IFT505"] == 0
    prompt = Tokens.of("default", "user: Hi</s>\nassistant: ").ids
    assert outcome.samples[0].ids[: len(prompt)] == prompt


def test_a_look_ahead_that_changes_the_prompt_is_counted_and_split_mends_it() -> None:
    """No token straddles here, and yet a server would feed other ids than the row has."""
    chat = row(user("Hi"), assistant("go on"))
    prompt = Tokens.of("default", "user\n\nHi</s>\nassistant\n\n").ids
    whole = only(worker(BLANK), chat)
    assert whole.ids[: len(prompt)] != prompt
    assert run(worker(BLANK), [chat]).tally.findings["IFT505"] == 1
    split = only(worker(BLANK, boundary="split"), chat)
    assert split.ids[: len(prompt)] == prompt
    assert run(worker(BLANK, boundary="split"), [chat]).tally.findings["IFT505"] == 0
    assert shown(BLANK, chat, boundary="split") == "user\n\nHi</s>\nassistant\n\n«go on</s>»\n"


def test_rows_without_straddling_tokens_are_the_same_with_split() -> None:
    rng = random.Random(5)
    rows = [random_row(rng) for _ in range(60)]
    made = worker(SPACED)
    whole, split = run(made, rows), run(worker(SPACED, boundary="split"), rows)
    counted = {sample.line for sample in whole.samples} - {
        sample.line
        for sample, other in zip(whole.samples, split.samples, strict=True)
        if (sample.ids, sample.mask) == (other.ids, other.mask)
    }
    singly = {line for line, item in enumerate(rows, 1) if run(made, [item]).tally.findings["IFT505"]}
    assert counted == singly
    assert 0 < len(singly) < len(rows)


@pytest.mark.parametrize("tokenizer", tokenizer_names())
@pytest.mark.parametrize("template", [SPACED, BLANK, built_in("chatml"), built_in("llama-3")])
def test_split_rows_start_with_the_ids_of_the_first_generation_prompt(template: str, tokenizer: str) -> None:
    """By ``tokenizers`` on the prompt alone; what is trained decodes to what follows it."""
    texts = JinjaTexts(template, cached_tokenizer(tokenizer_path(tokenizer)).special_tokens)
    made = worker(template, tokenizer, boundary="split")
    rng = random.Random(6)
    for item in [random_row(rng, [("user", "assistant")]) for _ in range(40)]:
        outcome = run(made, [item])
        prompt = Tokens.of(tokenizer, texts(item["messages"][:1], prompt=True) or "").ids
        sample = outcome.samples[0]
        assert sample.ids[: len(prompt)] == prompt
        assert sample.mask[: len(prompt)] == [0] * len(prompt)
        assert sample.mask[len(prompt)] == 1
        assert outcome.tally.findings["IFT505"] == 0


@pytest.mark.parametrize("tokenizer", tokenizer_names())
def test_stretches_are_encoded_as_in_the_middle_of_a_text(tokenizer: str) -> None:
    """Splitting where a token ends anyway changes nothing: no space is put in, no character lost."""
    text = "The quick brown fox, naïve cafe\u0301 你好\n\njumps  over 12 dogs\n x"
    made = backend(tokenizer)
    whole = encode_with(made, [text])
    points = sorted(set(whole.ends.tolist()) & set(whole.starts.tolist()))
    calm = [point for point in points if point not in crossed(made, text, whole, points)]
    assert calm
    for point in calm:
        split = encode_split(made, text, [point])
        for ours, theirs in ((split.ids, whole.ids), (split.starts, whole.starts), (split.ends, whole.ends)):
            assert ours.tolist() == theirs.tolist(), point


def test_crossed_tells_points_inside_tokens_from_points_between_them() -> None:
    text = "one two"
    encoded = encode_with(backend("default"), [text])
    inside = {point for low, high in zip(encoded.starts, encoded.ends, strict=True) for point in range(low + 1, high)}
    points = list(range(1, len(text)))
    assert set(crossed(backend("default"), text, encoded, points)) >= inside
    assert crossed(backend("default"), text, encoded, [3]) == []
    assert crossed(backend("default"), text, encoded, []) == []


def test_crossed_looks_at_a_bounded_stretch_of_text() -> None:
    """Far into a long text the answer is that of a short one: no prefix is encoded from its start."""
    tail = "assistant: go"
    text = "word " * 5000 + tail
    encoded: EncodedBatch = encode_with(backend("default"), [text])
    assert crossed(backend("default"), text, encoded, [len(text) - 2]) == [len(text) - 2]
    assert crossed(backend("default"), text, encoded, [len(text) - 3]) == []


CALLING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}{{ '\n' }}"
    "<tool_call>{{ call.function.name }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A template that puts a line break before each call: one token with that of the header, if nothing is said."""


def test_tokens_that_straddle_the_start_of_a_turn_count_also_where_it_bears_no_loss() -> None:
    chat = row(user("q"), assistant("", tool_calls=[call("f", {})]), user("q"), assistant("Hi"))
    for options in ({}, {"train_tool_calls": False}):
        assert run(worker(CALLING, **options), [chat]).tally.findings["IFT505"] == 1
    split = only(worker(CALLING, boundary="split", train_tool_calls=False), chat)
    prompt = Tokens.of("default", "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n").ids
    assert split.ids[: len(prompt)] == prompt
