"""Samples over the limit: dropped, refused or cut behind a turn; never shifted, never emptied, never patched up."""

import random

import pytest

from masks.generators import (
    Outcome,
    Row,
    assistant,
    built_in,
    marked,
    only,
    random_row,
    row,
    run,
    tokenizer_names,
    user,
    worker,
)

CHATML = built_in("chatml")
CHAT = row(
    user("one"), assistant("first reply"), user("two"), assistant("second reply"), user("three"), assistant("third")
)
WHOLE = only(worker(CHATML), CHAT)
# Tokens up to and including each reply's end-of-turn token.
ENDS = [
    index + 1
    for index, bit in enumerate(WHOLE.mask)
    if bit and (index + 1 == len(WHOLE.mask) or not WHOLE.mask[index + 1])
]


def cut(limit: int, item: Row = CHAT, **options: object) -> Outcome:
    return run(worker(CHATML, max_length=limit, overflow="truncate", **options), [item])


def test_a_sample_that_fits_is_left_alone() -> None:
    for overflow in ("drop", "truncate", "error"):
        made = worker(CHATML, max_length=len(WHOLE.ids), overflow=overflow)
        assert only(made, CHAT) == WHOLE


@pytest.mark.parametrize(("overflow", "booked"), [("drop", "dropped"), ("error", "rejected")])
def test_a_sample_over_the_limit_is_left_out_and_counted(overflow: str, booked: str) -> None:
    short = row(user("a"), assistant("b"))
    outcome = run(worker(CHATML, max_length=len(WHOLE.ids) - 1, overflow=overflow), [short, CHAT, short])
    assert [sample.line for sample in outcome.samples] == [1, 3]
    assert outcome.left_out == [(2, "IFT402")]
    assert getattr(outcome.tally.total, booked)["IFT402"] == 1


@pytest.mark.parametrize("limit", range(2, len(WHOLE.ids)))
def test_a_cut_sample_is_a_start_of_the_whole_and_ends_with_a_turn_where_one_fits(limit: int) -> None:
    outcome = cut(limit)
    fitting = [end for end in ENDS if end <= limit]
    if not outcome.samples:
        assert outcome.left_out == [(1, "IFT401")]
        assert sum(WHOLE.mask[:limit]) == 0
        return
    sample = outcome.samples[0]
    length = fitting[-1] if fitting else limit
    assert (sample.ids, sample.mask) == (WHOLE.ids[:length], WHOLE.mask[:length])
    assert sum(sample.mask) > 0
    assert sample.truncated
    assert outcome.tally.findings["IFT506"] == (0 if fitting else 1)
    assert outcome.tally.trained_tokens == sum(sample.mask)


def test_a_cut_inside_the_first_turn_keeps_its_start_and_says_so() -> None:
    outcome = cut(ENDS[0] - 1)
    made = worker(CHATML)
    assert marked(made, outcome.samples[0]) == "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n«first reply»"
    assert outcome.tally.findings["IFT506"] == 1


def test_a_cut_never_ends_in_a_token_that_was_not_there() -> None:
    """torchtune overwrites the last token with EOS."""
    assert cut(ENDS[1] - 1).samples[0].ids == WHOLE.ids[: ENDS[0]]
    assert cut(ENDS[1]).samples[0].ids == WHOLE.ids[: ENDS[1]]


def test_a_cut_before_anything_trained_drops_the_row() -> None:
    chat = row(user("long " * 50), assistant("x"))
    outcome = cut(20, chat)
    assert (outcome.samples, outcome.left_out) == ([], [(1, "IFT401")])
    assert outcome.tally.total.dropped["IFT401"] == 1
    assert outcome.tally.findings["IFT506"] == 0


def test_a_turn_that_is_not_trained_is_no_place_to_end() -> None:
    chat = row(
        user("one"), assistant("first reply", train=False), user("two"), assistant("second"), user("x"), assistant("y")
    )
    whole = only(worker(CHATML), chat)
    end = next(i + 1 for i, bit in enumerate(whole.mask) if bit and not whole.mask[i + 1])
    outcome = cut(end, chat)
    assert (outcome.samples[0].ids, outcome.samples[0].mask) == (whole.ids[:end], whole.mask[:end])


def test_turns_masked_by_their_length_are_no_place_to_end() -> None:
    """The first turn would fit, but trains nothing: the cut goes through the second."""
    first = sum(WHOLE.mask[: ENDS[0]])
    outcome = cut(ENDS[1] - 1, turn_tokens=(first + 1, None))
    second = [0] * ENDS[0] + WHOLE.mask[ENDS[0] : ENDS[1] - 1]
    assert (outcome.samples[0].ids, outcome.samples[0].mask) == (WHOLE.ids[: ENDS[1] - 1], second)
    assert outcome.tally.findings["IFT506"] == 1


def test_all_tokens_are_cut_at_the_limit() -> None:
    outcome = cut(10, train_on="all-tokens")
    assert (outcome.samples[0].ids, outcome.samples[0].mask) == (WHOLE.ids[:10], [0] + [1] * 9)


def test_without_loss_rows_are_cut_at_the_limit_and_kept() -> None:
    outcome = cut(10, train_on="all-tokens", bears_loss=False)
    assert (outcome.samples[0].ids, outcome.samples[0].mask) == (WHOLE.ids[:10], [0] * 10)


def test_each_sample_of_an_unrolled_row_fits_or_not_on_its_own() -> None:
    made = worker(CHATML, unroll="always", max_length=ENDS[1] + 1, overflow="drop")
    outcome = run(made, [CHAT])
    assert [sample.turn for sample in outcome.samples] == [1, 3]
    assert outcome.tally.samples_dropped["IFT402"] == 1
    assert outcome.tally.total.kept == 1


def test_forged_control_tokens_are_counted_as_the_text_they_are() -> None:
    """A limit holds for the ids that are written, not for those of a first try."""
    chat = row(user("<|im_end|>" * 5), assistant("ok"))
    length = len(only(worker(CHATML), chat).ids)
    assert len(only(worker(CHATML, max_length=length), chat).ids) == length
    assert run(worker(CHATML, max_length=length - 1), [chat]).left_out == [(1, "IFT402")]


@pytest.mark.parametrize("tokenizer", tokenizer_names())
def test_cut_samples_of_random_rows(tokenizer: str) -> None:
    """Whatever the limit: a start of the whole, trained somewhere, its last token the end of a turn or counted."""
    rng = random.Random(8)
    rows = [random_row(rng) for _ in range(40)]
    whole = run(worker(CHATML, tokenizer), rows).samples
    lengths = sorted(len(sample.ids) for sample in whole)
    for limit in (lengths[0], lengths[len(lengths) // 2], lengths[-1] - 1, lengths[0] // 2):
        outcome = run(worker(CHATML, tokenizer, max_length=limit, overflow="truncate"), rows)
        inside = 0
        for sample in outcome.samples:
            original = whole[sample.line - 1]
            size = len(sample.ids)
            assert size <= limit
            assert (sample.ids, sample.mask) == (original.ids[:size], original.mask[:size])
            assert sum(sample.mask) > 0
            assert sample.truncated == (size < len(original.ids))
            inside += sample.truncated and size < len(original.ids) and bool(original.mask[size] and sample.mask[-1])
        assert outcome.tally.findings["IFT506"] >= inside
        left = {line for line, code in outcome.left_out}
        assert left | {sample.line for sample in outcome.samples} == set(range(1, len(rows) + 1))
        for line in left:
            assert not any(whole[line - 1].mask[:limit])
