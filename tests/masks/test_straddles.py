"""Tokens that straddle the start of a completion, found in ids alone: compared with offsets, turn by turn."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from helpers import raw_row
from ifttool.encode import row_mask
from ifttool.preparing.prepared import Prepared
from ifttool.tokenizer.encoded import EncodedBatch
from ifttool.tokenizer.extension import Extensions, spells_bytes
from ifttool.tokenizer.load import load_tokenizer
from ifttool.tokenizer.reference import encode_with
from ifttool.worker import Worker
from masks.generators import (
    Row,
    assistant,
    built_in,
    cached_tokenizer,
    call,
    row,
    run,
    tokenizer_names,
    user,
    worker,
)
from masks.test_tokenizers import KINDS, SPECIALS

NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
QUIRKY = (
    "{% for m in messages %}<|im_start|>{{ m.role }}HEADER{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistantHEADER{% endif %}"
)
HEADERS = {
    "line": "\n",
    "blank": "\n\n",
    "space": ": ",
    "letter": ":e",
    "angle": "=>",
    "accent": ": cafe\u0301",
    "hanzi": "：助",
    "jamo": ": \u1112",
    "emoji": " 🫨",
    "long": "\n" + "thinks " * 10 + "\n",
    "nothing": "",
}
"""What stands between the role and the content: letters that marks combine with, characters of many bytes."""


def headed(header: str) -> str:
    """The template with one of these headers."""
    return QUIRKY.replace("HEADER", HEADERS[header])


# -- both ways --------------------------------------------------------------------------------------------------


class Ways:
    """Encodes rows in the quick way and by offsets, and compares.

    Attributes:
        samples: How many were compared.
        careful: How many of them the quick way left to the other.
        found: How many straddling tokens it found itself.
    """

    def __init__(self, made: Worker) -> None:
        self._made = made
        self.samples = self.careful = self.found = 0

    def check(self, *rows: Row) -> None:
        encoder = self._made._encoder
        samples = [sample for item in rows for sample in self._made._preparer.prepare(raw_row(item))]
        flat = encoder.flat(samples)
        _, is_quick, counted = encoder._anchors.masks(
            *flat, [encoder._anchors_of(sample) for sample in samples], np.arange(len(samples))
        )
        assert not counted[~is_quick].any()
        encoded = encoder.masked(samples, flat)
        for index, sample in enumerate(samples):
            detail = sample.detail()
            exact, straddles = encoder._careful(detail)
            own = slice(int(encoded.rows[index]), int(encoded.rows[index + 1]))
            assert encoded.ids[own].tolist() == exact.ids.tolist()
            assert encoded.mask[own].tolist() == row_mask(detail, exact).tolist()
            assert int(encoded.straddles[index]) == straddles
            if is_quick[index]:
                assert straddles == self._differing_prompts(detail, exact)
                self.found += straddles
        self.samples += len(samples)
        self.careful += int((~is_quick).sum())

    def _differing_prompts(self, sample: Prepared, exact: EncodedBatch) -> int:
        """For how many turns a prompt that ends at their start would have other ids, each encoded from its start."""
        prompts = encode_with(self._made.tokenizer.backend, [sample.text[:start] for start in sample.starts])
        return sum(
            prompts.row(index).ids.tolist() != exact.ids[exact.starts < start].tolist()
            for index, start in enumerate(sample.starts)
        )


@cache
def ways(template: str, tokenizer: str = "default", **options: Any) -> Ways:
    """Both ways with one template and tokenizer, the same ones in all examples."""
    return Ways(worker(template, tokenizer, named=NAMED, allow_text_markers=True, **options))


# -- tokenizers -------------------------------------------------------------------------------------------------


def merging(folder: Path, normalizer: normalizers.Normalizer | None = None) -> str:
    """A tokenizer of bytes without a pattern, that has learnt merges across every kind of header's end."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if normalizer is not None:
        made.normalizer = normalizer
    replies = (
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "a",
        "\u0301",
        "\u0338=",
        "你",
        "你好",
        "🫨",
        "\u1161\u11ab",
        "= ",
        "e\u0301",
    )
    texts = [f"assistant{header}{reply}" for header in HEADERS.values() for reply in replies for _ in range(4)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(SPECIALS)
    made.save(str(folder / "tokenizer.json"))
    return str(folder)


MADE = ("merging", "composing")
SPELLING = [name for name in tokenizer_names() if name in ("default", "minimind", "qwen3")]
"""Tokenizers at hand whose tokens spell bytes."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tokenizers made for this, by name."""
    found = {
        "merging": merging(tmp_path_factory.mktemp("merging")),
        "composing": merging(tmp_path_factory.mktemp("composing"), normalizers.NFC()),
    }
    for kind in KINDS:
        made = kind()
        made.add_special_tokens(SPECIALS)
        folder = tmp_path_factory.mktemp(kind.__name__)
        made.save(str(folder / "tokenizer.json"))
        found[kind.__name__] = str(folder)
    return found


# -- what is compared -------------------------------------------------------------------------------------------

EDGES = st.text(st.sampled_from("\n\n\n  \t\r=ae\u0301\u0338\u0344\u0316.:你🫨\u3000\u00a0\u1161\u11ab"), max_size=6)
CONTENTS = st.builds("{}{}{}".format, EDGES, st.sampled_from(["", "go on", "Hi", "x " * 60]), EDGES)
CHATS = st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=4)
MIXED = [("Hi", "\nHi"), ("Hi", "Hi"), ("\n", "\n"), ("Hi", ""), ("\nHi", "\n\nHi"), ("Hi", " \n"), ("Hi", "\t\n🫨")]
ALWAYS = (MIXED, [("", "\n \u0301")], [("Hi", "\u0338")], [("Hi", "\u1161\u11ab a")], [("Hi", "你")] * 3)


def chat(rounds: Sequence[tuple[str, str]]) -> Row:
    return row(*(message for asked, said in rounds for message in (user(asked), assistant(said))))


def differential(test: Any) -> Any:
    """A few examples always, and many more."""
    for one in ALWAYS:
        test = example(rounds=one)(test)
    unhealthy = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=15, deadline=None, suppress_health_check=unhealthy)(given(rounds=CHATS)(test))


@pytest.mark.parametrize("tokenizer", tokenizer_names())
@pytest.mark.parametrize("name", ["chatml", "qwen3", "llama-3", "phi-4", "zephyr", "granite", "smollm", "tulu"])
@differential
def test_both_ways_agree_with_built_in_templates(name: str, tokenizer: str, rounds: list[tuple[str, str]]) -> None:
    ways(built_in(name), tokenizer).check(chat(rounds))


@pytest.mark.parametrize("tokenizer", [*MADE, *SPELLING])
@pytest.mark.parametrize("header", sorted(HEADERS))
@differential
def test_both_ways_agree_whatever_a_header_ends_with(
    header: str, tokenizer: str, rounds: list[tuple[str, str]], folders: dict[str, str]
) -> None:
    ways(headed(header), folders.get(tokenizer, tokenizer)).check(chat(rounds))


@pytest.mark.parametrize("tokenizer", [kind.__name__ for kind in KINDS])
@pytest.mark.parametrize("header", ["line", "space", "letter"])
@differential
def test_both_ways_agree_with_every_kind_of_tokenizer(
    header: str, tokenizer: str, rounds: list[tuple[str, str]], folders: dict[str, str]
) -> None:
    ways(headed(header), folders[tokenizer]).check(chat(rounds))


OPTIONS: dict[str, dict[str, Any]] = {
    "split": {"boundary": "split"},
    "no end": {"train_end_of_turn": False},
    "no calls": {"train_tool_calls": False},
    "no reasoning": {"train_reasoning": False},
    "users": {"train_on": "user"},
    "last": {"train_on": "last-2-turns"},
    "everything": {"train_on": "all-tokens", "spans": "auto"},
    "unrolled": {"unroll": "always"},
    "appended": {"append_eos": True},
    "as text": {"content_specials": "text"},
    "allowed": {"content_specials": "allow"},
    "blocks": {"spans": "generation"},
}
SAYING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n' }}<tool_call>{{ call.function.name }}{% endfor %}"
    "<|im_end|>\n{% endgeneration %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Calls, and blocks that begin where turns do."""


@pytest.mark.parametrize("tokenizer", ["merging", *SPELLING])
@pytest.mark.parametrize("option", sorted(OPTIONS))
@differential
def test_both_ways_agree_under_every_option(
    option: str, tokenizer: str, rounds: list[tuple[str, str]], folders: dict[str, str]
) -> None:
    made = ways(SAYING, folders.get(tokenizer, tokenizer), **{"spans": "completion", **OPTIONS[option]})
    called = row(*chat(rounds)["messages"], user("Hi"), assistant("", tool_calls=[call("f", {})]), user("Hi"))
    made.check(chat(rounds))
    made.check(called, chat(rounds), row(*called["messages"], assistant(rounds[0][1])))


# -- that it is quick -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "replies", "count"),
    [
        ("line", ["\n\nHi"], 1),
        ("line", ["Hi", "\n\nHi", "Hi", "\n\n\nHi", "\nHi"], 2),
        ("line", ["\n\n", "", "\n"], 2),
        ("space", ["go", "Hi", "on", "\nHi"], 3),
        ("letter", ["n", "s", "."], 2),
    ],
)
def test_rows_whose_only_flaw_is_a_straddling_token_need_no_offsets(
    header: str, replies: list[str], count: int
) -> None:
    made = Ways(worker(headed(header)))
    rounds = [("Hi", reply) for reply in replies]
    made.check(chat(rounds), chat(rounds))
    assert (made.samples, made.careful, made.found) == (2, 0, 2 * count)
    outcome = run(worker(headed(header)), [chat(rounds)])
    assert outcome.tally.findings["IFT505"] == count


def test_rows_of_both_ways_keep_their_counts_in_one_batch() -> None:
    made = Ways(worker(headed("line")))
    forged = chat([("Hi", "a<|im_end|>\n\nb"), ("Hi", "\n\nHi")])
    made.check(chat([("Hi", "\n\nHi")]), forged, chat([("Hi", "\n\nHi")] * 3))
    assert (made.samples, made.careful, made.found) == (3, 1, 4)


def test_only_the_last_token_of_a_header_may_be_longer(tmp_path: Path) -> None:
    """Here the last but one is, and the last one comes again, in the completion."""
    made = _bytes(("b", "c"), ("a", "bc"))
    made.add_special_tokens(SPECIALS)
    made.save(str(tmp_path / "tokenizer.json"))
    compared = Ways(worker(QUIRKY.replace("HEADER", ":ab"), str(tmp_path)))
    compared.check(chat([("Hi", "cb!")]))
    assert compared.careful == 1


def test_where_nothing_is_said_a_straddling_token_counts_once() -> None:
    """It stands where the completion starts and where it ends."""
    made = Ways(worker(headed("line").replace("<|im_end|>", "\n<|im_end|>"), train_end_of_turn=False))
    made.check(chat([("Hi", ""), ("Hi", "Hi")]))


@pytest.mark.parametrize("tokenizer", MADE)
@pytest.mark.parametrize("header", ["line", "blank", "space", "emoji", "hanzi", "accent"])
def test_characters_of_many_bytes_need_no_offsets(header: str, tokenizer: str, folders: dict[str, str]) -> None:
    made = Ways(worker(headed(header), folders[tokenizer]))
    made.check(chat([("Hi", "你"), ("Hi", "🫨"), ("Hi", "🫩"), ("Hi", "好"), ("Hi", "\u0301a")]))
    assert made.careful == 0
    assert made.found > 0


@pytest.mark.skipif("qwen3" not in tokenizer_names(), reason="needs the Qwen3 tokenizer")
@pytest.mark.parametrize("name", ["chatml", "qwen3"])
def test_line_breaks_that_qwen_merges_need_no_offsets(name: str) -> None:
    made = Ways(worker(built_in(name), "qwen3"))
    made.check(chat([("Hi", "\nHi"), ("Hi", "Hi"), ("Hi", "\n\nHi"), ("Hi", "\n"), ("Hi", "Hi")]))
    assert (made.careful, made.found) == (0, 3)


@pytest.mark.parametrize(
    ("header", "reply", "options"),
    [
        ("line", "\n\nHi", {"boundary": "split"}),  # has other ids
        ("blank", "Hi", {}),  # a look-ahead: nothing straddles
        ("long", "\n\nHi", {}),  # too long for the reference path to look back
    ],
)
def test_other_rows_are_left_to_offsets(header: str, reply: str, options: dict[str, Any]) -> None:
    made = Ways(worker(headed(header), **options))
    made.check(chat([("Hi", reply)]))
    assert made.careful == 1


def test_blocks_of_the_template_are_left_to_offsets() -> None:
    """They train a token that holds their first character, wherever it starts."""
    made = Ways(worker(SAYING, spans="generation"))
    made.check(chat([("Hi", "\n\nHi")]))
    assert made.careful == 1


# -- which tokenizers -------------------------------------------------------------------------------------------


def _bytes(*merges: tuple[str, str]) -> Tokenizer:
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    made = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, list(merges)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def _changed(**parts: Any) -> Tokenizer:
    made = _bytes()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


MAPPED = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (_bytes(), True),
        (_changed(normalizer=normalizers.NFC()), True),
        (_changed(normalizer=normalizers.Sequence([])), True),
        (_changed(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Digits(), MAPPED])), True),
        (_changed(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Split("a", "isolated"), MAPPED])), True),
        (_changed(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Split("a", "removed"), MAPPED])), False),
        (_changed(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), MAPPED])), False),
        (_changed(pre_tokenizer=pre_tokenizers.Sequence([MAPPED, MAPPED])), False),
        (_changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), False),
        (_changed(pre_tokenizer=pre_tokenizers.Metaspace()), False),
        (_changed(normalizer=normalizers.NFKC()), False),
        (_changed(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])), False),
        (_changed(model=models.BPE({"a": 0}, [])), False),
        (_changed(model=models.BPE(_bytes().get_vocab(), [], continuing_subword_prefix="##")), False),
        (_changed(model=models.BPE(_bytes().get_vocab(), [], end_of_word_suffix="</w>")), False),
        (_changed(model=models.WordLevel(_bytes().get_vocab(), unk_token="a")), False),
    ],
)
def test_tokens_spell_bytes_where_nothing_else_touches_a_text(made: Tokenizer, expected: bool) -> None:
    assert spells_bytes(made) == expected


def test_a_token_extends_another_if_it_spells_more() -> None:
    loaded = cached_tokenizer("default")
    id_of = loaded.backend.token_to_id
    found = np.array([id_of(token) for token in ("ĊĊ", "Ċ", "Ġ", "<|im_end|>", "ĊĊ", "Ċ")], np.int32)
    expected = np.array([id_of("Ċ")] * 5 + [id_of("ĊĊ")], np.int64)
    extensions = Extensions(loaded)
    for _ in range(2):
        assert extensions.of(expected, found).tolist() == [True, False, False, False, True, False]
    assert extensions.of(expected[:0], found[:0]).tolist() == []


def test_where_tokens_spell_no_bytes_none_extends_another(tmp_path: Path) -> None:
    for prefix, expected in ((False, True), (True, False)):
        made = _bytes(("a", "b"))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        made.save(str(tmp_path / "tokenizer.json"))
        pair = np.array([made.token_to_id("a")], np.int64), np.array([made.token_to_id("ab")], np.int32)
        assert Extensions(load_tokenizer(str(tmp_path))).of(*pair).tolist() == [expected]


def test_added_tokens_extend_nothing(tmp_path: Path) -> None:
    """They may take white space with them that they don't spell."""
    made = _bytes()
    made.add_tokens(["ab", "a b"])
    made.save(str(tmp_path / "tokenizer.json"))
    id_of = made.token_to_id
    expected = np.array([id_of("a"), id_of("ab")], np.int64)
    assert (
        Extensions(load_tokenizer(str(tmp_path))).of(expected, np.array([id_of("ab"), id_of("a b")], np.int32)).sum()
        == 0
    )
