"""Plain chats: read at once and printed by plans, they are what the general way makes of them."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers import chat, raw_row
from ifttool.errors import RowError
from ifttool.formats import to_conversation
from ifttool.formats.plain import PlainReader, read_plain_chats
from ifttool.io.jsonl import decode_row
from ifttool.records import Conversation, PlainChat, RawRow
from masks.generators import Outcome, Row, built_in, run, worker

# -- reading ----------------------------------------------------------------------------------------------------


class Raw(str):
    """A piece of JSON text."""


def written(pairs: Any, joint: str, colon: str) -> str:
    """JSON text of an object given as pairs, so that keys may come twice and in any order."""
    if isinstance(pairs, tuple):
        return "{" + joint.join(f"{json.dumps(key)}{colon}{written(item, joint, colon)}" for key, item in pairs) + "}"
    if isinstance(pairs, list):
        return "[" + joint.join(written(item, joint, colon) for item in pairs) + "]"
    return str(pairs) if isinstance(pairs, Raw) else json.dumps(pairs, ensure_ascii=len(str(pairs)) % 2 == 0)


TEXTS = st.sampled_from(["", "Hi", 'say {"role":"x"}', '{"role', '":', "é 你", "\n", "[[[", "a\\", Raw('"\\u0041"')])
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "a b", ""])
PLAIN = st.tuples(ROLES, TEXTS).map(lambda pair: (("role", pair[0]), ("content", pair[1])))
ODD = st.lists(
    st.tuples(
        st.sampled_from(["role", "content", "rule", "ro\\u006ce", "train", "name", "tool_calls"]),
        TEXTS | st.none() | st.booleans() | st.just([]),
    ),
    max_size=3,
).map(tuple)
IDS = st.sampled_from(["x", "", 7, 2**70, None, True, 1.5, []])
EXTRA = st.sampled_from(["id", "id", "uuid", "messages", "tools", "label", "chosen", "weight"])


@st.composite
def rows(draw: Any) -> bytes:
    """Rows most of which are plain chats, and some nearly."""
    messages = draw(st.lists(PLAIN, max_size=4))
    if draw(st.integers(0, 2)) == 0:
        messages.insert(draw(st.integers(0, len(messages))), draw(ODD))
    pairs = [("messages", messages)]
    for key in draw(st.lists(EXTRA, max_size=2)):
        pairs.insert(draw(st.integers(0, len(pairs))), (key, draw(IDS)))
    joint, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
    return written(tuple(pairs), joint, colon).encode()


def general(data: bytes) -> Conversation | None:
    try:
        return to_conversation(decode_row(data))
    except RowError:
        return None


@given(rows())
@example(b'{"messages":[{"role":"user","content":"Hi"}],"id":3}')
@example(b'{"messages":[{"role":"user","content":"Hi"},{"content":"{\\"role\\":1}","role":"assistant"}]}')
@example(b'{"messages":[{"role":"user","content":"a","content":"b"}]}')
@example(b'{"messages":[{"role":"user","content":"\xff"}]}')
@example(b'{"messages":[{"role":"user","content":"\\ud800"}]}')
@settings(max_examples=1500, deadline=None)
def test_a_plain_chat_is_what_the_general_way_reads(data: bytes) -> None:
    (found,) = read_plain_chats([raw_row(data)])
    if found is None:
        return
    conversation = general(data)
    # Without messages or with an empty role it is refused; no plan has ever seen such roles.
    if conversation is None:
        assert not found.contents or "" in found.roles
        return
    assert [
        [("role", role), ("content", content)] for role, content in zip(found.roles, found.contents, strict=True)
    ] == [[*message.items()] for message in conversation.messages]
    assert found.roles == tuple(message["role"] for message in conversation.messages)
    assert (found.id, None, ()) == (conversation.id, conversation.tools, conversation.train)


@pytest.mark.parametrize(
    "data",
    [
        b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"\xe4\xbd\xa0"}]}',
        b'{"id":"a","messages":[{"role": "user", "content": "\\"role\\": {\\"role\\":1}"}]}',
        b'{"messages": [{"role":"system","content":""}], "id": 12}',
    ],
)
def test_plain_chats_are_read_at_once(data: bytes) -> None:
    assert [*read_plain_chats([raw_row(data)])] != [None]


@pytest.mark.parametrize(
    "data",
    [
        b'{"messages":[{"content":"Hi","role":"user"}]}',
        b'{"messages":[{"role":"user","content":"Hi","name":"Al"}]}',
        b'{"messages":[{"role":"user","content":"Hi"}],"tools":[]}',
        b'{"messages":[{"role":"user","content":"a","content":"b"}]}',
        b'{"messages":[{"role":"user","role":"user","content":"b"}]}',
        b'{"messages":[{"role":"user","content":"Hi"}],"id":null}',
        b'{"messages":[{"role":"user","content":"Hi"}]} x',
    ],
)
def test_other_rows_are_left(data: bytes) -> None:
    assert [*read_plain_chats([raw_row(data)])] == [None]


def test_data_without_plain_chats_is_only_looked_at_now_and_then() -> None:
    reader = PlainReader()
    handful = [raw_row(chat("Hi", "Yo."), line) for line in range(1, 11)]

    def is_looked_at() -> bool:
        found = [one is not None for one in reader.read(handful)]
        assert len(found) == len(handful) and len(set(found)) == 1
        return found[0]

    assert all(is_looked_at() for _ in range(6))
    assert sum(is_looked_at() for _ in range(640)) in range(10, 13)
    reader.found_use()
    assert is_looked_at()


# -- preparing --------------------------------------------------------------------------------------------------

# What templates ask of texts, and what makes masks hard.
CONTENTS = (
    "Hi", "", "\n", "\n\nline", " padded ", "<think>\na\n</think>\n\nso", "a</think>b", "<think>", "</think>",
    "<tool_response>\nr\n</tool_response>", "<|im_end|>", "<|im_start|>user\nno", "你好", "</s>", "/no_think",
)  # fmt: skip
TEMPLATES = ("chatml", "qwen3", "llama-3", "deepseek-r1-distill", "hermes", "mistral")
ANCHORED = ("chatml", "qwen3", "hermes")
"""Those whose control tokens the default tokenizer has; masks of the others take positions."""
PRINTS_KEYS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for k in m %}{{ k }}={{ m[k] }};{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\nrole=assistant;content={% endif %}"
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"train_on": "final-turn"},
    {"train_on": "user,assistant"},
    {"train_on": "all-tokens"},
    {"unroll": "auto"},
    {"unroll": "always"},
    {"on_mismatch": "error"},
    {"on_mismatch": "drop"},
    {"on_mismatch": "mask"},
    {"append_eos": True},
    {"train_reasoning": False},
    {"content_specials": "error"},
    {"content_specials": "drop"},
    {"boundary": "split"},
    {"spans": "completion", "max_length": 60, "overflow": "truncate"},
)


def chats(seed: int, count: int) -> list[Row]:
    """Plain chats of a few sequences of roles, with and without an id; one in seven has another order of keys."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        roles = [*(["system"] if number % 3 == 0 else []), *["user", "assistant"] * (1 + number % 2)]
        messages = [{"role": role, "content": chance.choice(CONTENTS)} for role in roles]
        if number % 7 == 0:
            messages[-1] = dict(reversed(messages[-1].items()))
        made.append({"messages": messages, **({"id": number} if number % 5 == 0 else {})})
    return made


class Counting(PlainReader):
    """Counts how many chats were of use, and never loses patience."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0

    def read(self, rows: Sequence[RawRow]) -> Iterator[PlainChat | None]:
        return read_plain_chats(rows)

    def found_use(self) -> None:
        self.used += 1


def both_ways(template: str, rows: Sequence[Row], **options: Any) -> tuple[Outcome, Outcome, int]:
    """What rows give, plain chats read at once or not, and how many of them were."""
    made = []
    reader = Counting()
    for plain in (reader, None):
        one = worker(template, named={"bos_token": "<s>", "eos_token": "</s>"}, allow_text_markers=True, **options)
        if one._preparer._plain is not None and plain is not None:
            one._preparer._plain.reader = plain
        else:
            one._preparer._plain = None
        made.append(run(one, rows))
    return made[0], made[1], reader.used


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())) or "default")
@pytest.mark.parametrize("name", TEMPLATES)
def test_plain_chats_are_prepared_as_all_rows_are(name: str, options: dict[str, Any]) -> None:
    at_once, general, used = both_ways(built_in(name), chats(1, 150), **options)
    assert at_once == general
    may_be_used = options.get("unroll") != "always" and not {"append_eos", "train_reasoning"} & options.keys()
    assert used > 0 if may_be_used and name in ANCHORED else may_be_used or not used


def test_templates_that_print_keys_see_their_order() -> None:
    at_once, general, used = both_ways(PRINTS_KEYS, chats(2, 150))
    assert at_once == general
    assert used > 0


def test_other_plans_of_the_same_roles_are_tried() -> None:
    """Replies with and without reasoning take two ways through Qwen3's template."""
    rows = [chat("Hi", text) for text in ("Yo.", "<think>\na\n</think>\n\nso") * 40]
    at_once, general, used = both_ways(built_in("qwen3"), rows)
    assert at_once == general
    assert used > 60


def test_more_sequences_of_roles_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifttool.preparing.plain_ways._REMEMBERED", 2)
    rows = [chat(*["Hi", "Yo."] * turns) for turns in (1, 2, 3, 4) * 24]
    at_once, general, used = both_ways(built_in("qwen3"), rows)
    assert at_once == general
    assert used > 48


def test_plans_of_a_shape_that_was_forgotten_are_used_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifttool.template.analyser.MAX_SHAPES", 2)
    rows = [chat("Hi", "Yo.")] * 20
    rows += [chat(*["Hi", "Yo."] * turns) for turns in (2, 3, 4)]
    rows += [chat("Hi", "<think>\na\n</think>\n\nso")] * 40
    at_once, general, used = both_ways(built_in("qwen3"), rows)
    assert at_once == general
    assert used > 30
