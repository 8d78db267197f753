"""Every option that decides what bears loss, alone and against the others."""

from typing import Any

import pytest

from ifttool.errors import UsageError
from ifttool.recipe import Recipe
from masks.generators import Row, assistant, built_in, call, only, row, run, shown, system, tool, user, worker
from masks.test_turn_contents import FIELDS
from parity.conversations import TOOLS

CHATML = built_in("chatml")
CHAT = row(system("S"), user("a"), assistant("b"), user("c"), assistant("d"), user("e"), assistant("f"))


def turns(template: str, item: Row, **options: Any) -> list[str]:
    """What is trained, stretch by stretch."""
    return [part.split("»")[0] for part in shown(template, item, **options).split("«")[1:]]


# -- which turns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train_on", "trained"),
    [
        ("assistant-turns", ["b<|im_end|>", "d<|im_end|>", "f<|im_end|>"]),
        ("final-turn", ["f<|im_end|>"]),
        ("last-1-turns", ["f<|im_end|>"]),
        ("last-2-turns", ["d<|im_end|>", "f<|im_end|>"]),
        ("last-9-turns", ["b<|im_end|>", "d<|im_end|>", "f<|im_end|>"]),
        ("assistant", ["b<|im_end|>", "d<|im_end|>", "f<|im_end|>"]),
        ("user", ["a<|im_end|>", "c<|im_end|>", "e<|im_end|>"]),
        ("system", ["S<|im_end|>"]),
        ("system,assistant", ["S<|im_end|>", "b<|im_end|>", "d<|im_end|>", "f<|im_end|>"]),
    ],
)
def test_turns_by_role_and_position(train_on: str, trained: list[str]) -> None:
    assert turns(CHATML, CHAT, train_on=train_on) == trained


def test_all_tokens_but_the_first() -> None:
    sample = only(worker(CHATML, train_on="all-tokens"), CHAT)
    assert sample.mask == [0] + [1] * (len(sample.ids) - 1)
    assert only(worker(CHATML, train_on="all-tokens"), row(user("a"))).verdict == "none"


def test_roles_that_no_message_has_leave_nothing_to_train() -> None:
    outcome = run(worker(CHATML, train_on="critic"), [CHAT])
    assert (outcome.samples, outcome.left_out) == ([], [(1, "IFT401")])


def test_a_tool_result_is_trained_only_if_its_role_is_named() -> None:
    chat = row(user("a"), assistant("", tool_calls=[call("now", {})]), tool("12:00"), assistant("Noon."), tools=TOOLS)
    assert turns(FIELDS, chat) == ["<tool_call>now:{}</tool_call><|im_end|>", "Noon.<|im_end|>"]
    assert turns(FIELDS, chat, train_on="tool") == ["12:00<|im_end|>"]


@pytest.mark.parametrize("text", ["", "Assistant", "last-0-turns", "a b", "user;assistant", "no-such-turns"])
def test_a_selection_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--train-on can't be"):
        Recipe(template="x", template_name="x", tokenizer="default", date="2026-01-15", train_on=text)


# -- flags in the data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["train", "training", "trainable", "loss", "weight", "loss_weight"])
def test_a_flag_decides_for_its_message(flag: str) -> None:
    def flagged(off: Any, on: Any) -> Row:
        return row(user("a", **{flag: on}), assistant("b", **{flag: off}), user("c"), assistant("d"))

    for off, on in ((False, True), (0, 1), (0.0, 1.0)):
        assert turns(CHATML, flagged(off, on)) == ["a<|im_end|>", "d<|im_end|>"]


def test_a_flag_of_null_is_none() -> None:
    assert turns(CHATML, row(user("a"), assistant("b", train=None))) == ["b<|im_end|>"]


def test_flags_never_reach_the_template() -> None:
    template = "{% for m in messages %}{{ m | length }}{{ m.content }}<|im_end|>{% endfor %}"
    assert shown(template, row(user("a", weight=0), assistant("b", train=True))).startswith("2a<|im_end|>")


def test_the_last_turns_are_counted_among_those_that_flags_leave() -> None:
    chat = row(user("a"), assistant("b"), user("c"), assistant("d"), user("e"), assistant("f", train=False))
    assert turns(CHATML, chat, train_on="final-turn") == ["d<|im_end|>"]
    assert turns(CHATML, chat, train_on="last-2-turns") == ["b<|im_end|>", "d<|im_end|>"]


@pytest.mark.parametrize(
    "flags",
    [{"train": True, "weight": 0}, {"loss": False, "trainable": True}, {"weight": 0.5}, {"train": "yes"}, {"loss": 2}],
)
def test_flags_that_disagree_or_say_nothing_reject_the_row(flags: dict[str, Any]) -> None:
    assert run(worker(CHATML), [row(user("a"), assistant("b", **flags))]).left_out == [(1, "IFT205")]


def test_flags_that_agree_are_one() -> None:
    assert turns(CHATML, row(user("a"), assistant("b", train=True, weight=1))) == ["b<|im_end|>"]


def test_a_row_with_all_turns_flagged_off_is_dropped_and_counted() -> None:
    outcome = run(worker(CHATML), [row(user("a"), assistant("b", train=False)), CHAT])
    assert outcome.left_out == [(1, "IFT401")]
    assert (outcome.tally.total.dropped["IFT401"], outcome.tally.total.kept) == (1, 1)


# -- which parts of a turn ---------------------------------------------------------------------------------------

AGENT = row(
    user("a"),
    assistant("Let me see.", reasoning_content="hm", tool_calls=[call("now", {"k": "v"}), call("now", {})]),
    tool("12:00"),
    assistant("Noon.", reasoning_content="ok"),
    tools=TOOLS,
)
CALLS = '<tool_call>now:{"k": "v"}</tool_call><tool_call>now:{}</tool_call>'


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, [f"<think>hm</think>Let me see.{CALLS}<|im_end|>", "<think>ok</think>Noon.<|im_end|>"]),
        ({"train_reasoning": False}, [f"Let me see.{CALLS}<|im_end|>", "Noon.<|im_end|>"]),
        (
            {"train_tool_calls": False},
            ["<think>hm</think>Let me see.", "<|im_end|>", "<think>ok</think>Noon.<|im_end|>"],
        ),
        ({"train_end_of_turn": False}, [f"<think>hm</think>Let me see.{CALLS}", "<think>ok</think>Noon."]),
        (
            {"train_reasoning": False, "train_tool_calls": False, "train_end_of_turn": False},
            ["Let me see.", "Noon."],
        ),
    ],
)
def test_parts_of_turns_left_out(options: dict[str, Any], trained: list[str]) -> None:
    assert turns(FIELDS, AGENT, **options) == trained


@pytest.mark.parametrize(
    ("content", "trained"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "Yes.<|im_end|>"),
        ("<think>hm</think>Yes.", "Yes.<|im_end|>"),
        ("hm</think>Yes.", "Yes.<|im_end|>"),
        ("<think>a</think>b<think>c</think> d", " d<|im_end|>"),
        ("<think>a</think>\n  d e", " d e<|im_end|>"),
        ("[THINK]hm[/THINK]Yes.", "Yes.<|im_end|>"),
        ("<thought>hm</thought>Yes.", "Yes.<|im_end|>"),
        ("<think>never closed", "<think>never closed<|im_end|>"),
        ("Yes.", "Yes.<|im_end|>"),
        ("<think>all</think>", "<|im_end|>"),
    ],
)
def test_reasoning_written_into_the_content_left_out(content: str, trained: str) -> None:
    chat = row(user("<think>q</think>a"), assistant(content))
    assert turns(CHATML, chat, train_reasoning=False) == [trained]


def test_reasoning_of_qwen3_left_out_with_its_empty_block() -> None:
    template = built_in("qwen3")
    for chat in (
        row(user("a"), assistant("Yes.", reasoning_content="hm")),
        row(user("a"), assistant("<think>\nhm\n</think>\n\nYes.")),
        row(user("a"), assistant("Yes.")),
    ):
        assert turns(template, chat, train_reasoning=False) == ["Yes.<|im_end|>"]


def test_a_turn_of_tool_calls_alone_is_its_end_without_them() -> None:
    chat = row(user("a"), assistant("", tool_calls=[call("now", {})]), tools=TOOLS)
    assert turns(FIELDS, chat, train_tool_calls=False) == ["<|im_end|>"]
    nothing = run(worker(FIELDS, train_tool_calls=False, train_end_of_turn=False), [chat])
    assert nothing.left_out == [(1, "IFT401")]


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_reasoning", False), ("train_tool_calls", False), ("train_end_of_turn", False), ("turn_tokens", (5, None)),
     ("spans", "completion"), ("on_mismatch", "drop"), ("unroll", "auto"), ("train_history", True)],
)  # fmt: skip
def test_options_of_turns_are_refused_where_every_token_is_trained(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name.replace('_', '-')} has no effect"):
        worker(FIELDS, train_on="all-tokens", **{name: value})


def test_no_loss_keeps_rows_that_train_nothing() -> None:
    sample = only(worker(CHATML, train_on="all-tokens", bears_loss=False), row(user("a")))
    assert sample.mask == [0] * len(sample.ids)


# -- the end of a turn -------------------------------------------------------------------------------------------

OPEN = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"


def test_append_eos_closes_a_last_turn_that_ends_in_nothing() -> None:
    chat = row(user("a"), assistant("b"), user("c"), assistant("d"))
    assert shown(OPEN, chat) == "user:\na\nassistant:\n«b»\nuser:\nc\nassistant:\n«d»\n"
    assert shown(OPEN, chat, append_eos=True) == "user:\na\nassistant:\n«b»\nuser:\nc\nassistant:\n«d<|im_end|>»\n"
    counts = [run(worker(OPEN, append_eos=append), [chat]).tally.findings["IFT504"] for append in (False, True)]
    assert counts == [2, 1]


def test_append_eos_leaves_turns_alone_that_end_or_are_not_last() -> None:
    assert shown(CHATML, CHAT, append_eos=True) == shown(CHATML, CHAT)
    unended = row(user("a"), assistant("b"), user("c"))
    assert shown(OPEN, unended, append_eos=True) == shown(OPEN, unended)


def test_append_eos_closes_every_sample_of_an_unrolled_row() -> None:
    chat = row(user("a"), assistant("b"), user("c"), assistant("d"))
    made = worker(OPEN, append_eos=True, unroll="always")
    assert [sample.trained[-1] for sample in run(made, [chat]).samples] == [2, 2]


def test_append_eos_and_no_end_of_turn_leave_the_token_in_and_out_of_the_loss() -> None:
    sample = only(worker(OPEN, append_eos=True, train_end_of_turn=False), row(user("a"), assistant("b")))
    assert sample.ids[-2:-1] == [2] or sample.ids[-1] == 2
    assert 2 not in sample.trained


def test_an_end_of_turn_that_is_missing_is_counted() -> None:
    outcome = run(worker(OPEN), [row(user("a"), assistant("b"))])
    assert outcome.tally.findings["IFT504"] == 1
    assert run(worker(CHATML), [CHAT]).tally.findings["IFT504"] == 0


# -- lengths of turns --------------------------------------------------------------------------------------------


def test_turns_shorter_or_longer_than_the_limits_are_masked() -> None:
    long = " ".join(["word"] * 20)
    chat = row(user("a"), assistant("b"), user("c"), assistant(f"{long}."), user("e"), assistant("one two three"))
    lengths = [
        len(worker(CHATML).tokenizer.backend.encode(f"{text}<|im_end|>").ids)
        for text in ("b", f"{long}.", "one two three")
    ]
    everything = ["b<|im_end|>", f"{long}.<|im_end|>", "one two three<|im_end|>"]
    assert turns(CHATML, chat) == everything
    assert turns(CHATML, chat, turn_tokens=(lengths[0], lengths[1])) == everything
    assert turns(CHATML, chat, turn_tokens=(lengths[0] + 1, None)) == everything[1:]
    assert turns(CHATML, chat, turn_tokens=(None, lengths[1] - 1)) == [everything[0], everything[2]]
    assert turns(CHATML, chat, turn_tokens=(lengths[2], lengths[1] - 1)) == [everything[2]]
    none = run(worker(CHATML, turn_tokens=(lengths[1] + 1, None)), [chat])
    assert none.left_out == [(1, "IFT401")]


# -- turns that aren't exact -------------------------------------------------------------------------------------

QWEN3 = built_in("qwen3")
THINKING = row(user("a"), assistant("<think>\nh\n</think>\n\nb"), user("c"), assistant("<think>\ni\n</think>\n\nd"))
HISTORY, FINAL = "b<|im_end|>", "<think>\ni\n</think>\n\nd<|im_end|>"
OWN = "<think>\nh\n</think>\n\nb<|im_end|>"


def test_on_mismatch_warn_trains_what_stands_there_and_counts_it() -> None:
    outcome = run(worker(QWEN3), [THINKING])
    assert turns(QWEN3, THINKING) == [HISTORY, FINAL]
    assert dict(outcome.tally.verdicts) == {"history": 1, "exact": 1}
    assert outcome.tally.findings["IFT501"] == 1
    assert outcome.samples[0].verdict == "history"


def test_on_mismatch_mask_trains_exact_turns_only() -> None:
    assert turns(QWEN3, THINKING, on_mismatch="mask") == [FINAL]


@pytest.mark.parametrize("options", [{"on_mismatch": "unroll"}, {"unroll": "auto"}, {"unroll": "always"}])
def test_unrolling_makes_every_turn_exact(options: dict[str, Any]) -> None:
    made = worker(QWEN3, **options)
    outcome = run(made, [THINKING])
    decoded = [made.tokenizer.backend.decode(sample.trained, skip_special_tokens=False) for sample in outcome.samples]
    assert decoded == [OWN, FINAL]
    assert [(sample.turn, sample.verdict) for sample in outcome.samples] == [(1, "exact"), (3, "exact")]
    assert (outcome.tally.total.kept, outcome.tally.samples) == (1, 2)


def test_unroll_auto_leaves_rows_whole_that_are_exact() -> None:
    assert [sample.turn for sample in run(worker(CHATML, unroll="auto"), [CHAT]).samples] == [None]
    assert [sample.turn for sample in run(worker(CHATML, unroll="always"), [CHAT]).samples] == [2, 4, 6]


def test_unrolling_trains_earlier_turns_again_if_asked() -> None:
    made = worker(CHATML, unroll="always", train_history=True)
    decoded = [made.tokenizer.backend.decode(s.trained, skip_special_tokens=False) for s in run(made, [CHAT]).samples]
    assert decoded == ["b<|im_end|>", "b<|im_end|>d<|im_end|>", "b<|im_end|>d<|im_end|>f<|im_end|>"]


def test_unrolling_follows_the_selection_and_the_flags() -> None:
    assert [
        sample.turn for sample in run(worker(CHATML, unroll="always", train_on="last-2-turns"), [CHAT]).samples
    ] == [4, 6]
    flagged = row(user("a"), assistant("b", train=False), user("c"), assistant("d"), user("e", train=True))
    assert [sample.turn for sample in run(worker(CHATML, unroll="always"), [flagged]).samples] == [3, 4]


@pytest.mark.parametrize(("on_mismatch", "booked"), [("drop", "dropped"), ("error", "rejected")])
def test_on_mismatch_drop_and_error_leave_the_row_out(on_mismatch: str, booked: str) -> None:
    calm = row(user("a"), assistant("b"))
    outcome = run(worker(QWEN3, on_mismatch=on_mismatch), [calm, THINKING, calm])
    assert [sample.line for sample in outcome.samples] == [1, 3]
    assert outcome.left_out == [(2, "IFT501")]
    assert getattr(outcome.tally.total, booked)["IFT501"] == 1


def test_unrolling_comes_before_dropping() -> None:
    outcome = run(worker(QWEN3, on_mismatch="drop", unroll="auto"), [THINKING])
    assert ([sample.turn for sample in outcome.samples], outcome.left_out) == ([1, 3], [])


# A template that opens the reasoning in its generation prompt, and prints none of it.
OPENS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_a_prompt_that_the_turn_lacks_is_a_mismatch_that_unrolling_cannot_mend() -> None:
    chat = row(user("a"), assistant("b"))
    assert turns(OPENS, chat) == ["b<|im_end|>"]
    assert dict(run(worker(OPENS), [chat]).tally.verdicts) == {"prompt": 1}
    assert run(worker(OPENS, unroll="auto"), [chat]).samples[0].verdict == "prompt"
    assert run(worker(OPENS, on_mismatch="mask"), [chat]).left_out == [(1, "IFT401")]
    assert run(worker(OPENS, on_mismatch="drop"), [chat]).left_out == [(1, "IFT502")]


def test_a_reply_that_closes_what_the_prompt_opened_is_exact() -> None:
    chat = row(user("a"), assistant("<think>\nh\n</think>\n\nb"))
    assert shown(OPENS, chat) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\n«h\n</think>\n\nb<|im_end|>»\n"
    )
    assert dict(run(worker(OPENS), [chat]).tally.verdicts) == {"exact": 1}
    assert turns(OPENS, chat, train_reasoning=False) == ["b<|im_end|>"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("unroll", "yes"), ("on_mismatch", "skip"), ("content_specials", "no"), ("boundary", "cut"), ("overflow", "wrap"),
     ("spans", "x"), ("tool_arguments", "y"), ("max_length", 1), ("turn_tokens", (5, 2))],
)  # fmt: skip
def test_options_that_do_not_exist_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError):
        Recipe(template="x", template_name="x", tokenizer="default", date="2026-01-15", **{name: value})
