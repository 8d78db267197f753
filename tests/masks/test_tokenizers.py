"""The rule of the first character, for every kind of tokenizer: checked token by token with ``tokenizers`` alone."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ifttool.errors import TokenizerError
from masks.expected import JinjaTexts, exact_spans
from masks.generators import (
    Row,
    assistant,
    built_in,
    random_row,
    row,
    run,
    tokenizer_folder,
    tokenizer_names,
    user,
    worker,
)

TEMPLATES = ("chatml", "llama-3", "phi-3", "mistral-v7", "vicuna")
NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
HARD = [
    row(
        user("q"), assistant("cafe\u0301"), user("cafe\u0301"), assistant("e\u0301 phe\u0302\u0323 \u1112\u1161\u11ab")
    ),
    row(user("q "), assistant(" a "), user("\n\nq"), assistant("\n\na\t")),
    row(user("🫨"), assistant("🫨👩‍🚀"), user("ﬁ Ⅷ ① Å"), assistant("ﬁ Ⅷ ① Å ½")),
    row(user("é" * 40), assistant("\u200b\ufeff \u00a0x\u3000"), user("İstanbul ẞ"), assistant("İ ẞ ǅ")),
    row(user("a"), assistant(""), user(""), assistant("   ")),
    row(user("a\u0301" * 3), assistant("\u0301a"), user("x"), assistant("\u0301")),
    row(user("你好"), assistant("你好，世界。 a"), user("สวัสดี"), assistant("مرحبا بالعالم")),
    row(user("\r\n"), assistant("a\r\nb\rc"), user("\x00"), assistant("\x00\x07 a")),
]


def rows() -> list[Row]:
    rng = random.Random(7)
    return HARD + [random_row(rng) for _ in range(30)]


def plain(path: Path) -> Tokenizer:
    """A tokenizer with nothing that would touch its offsets or length."""
    loaded = Tokenizer.from_file(str(path))
    loaded.no_truncation()
    loaded.no_padding()
    loaded.post_processor = processors.Sequence([])
    return loaded


def check(tokenizer: Tokenizer, source: str, template: str) -> None:
    """Every token is trained exactly if its first character lies in the completion of a trained turn."""
    made = worker(template, source, named=NAMED, on_mismatch="mask")
    texts = JinjaTexts(template, made.tokenizer.special_tokens)
    checked = 0
    for item in rows():
        spans = exact_spans(texts, item)
        outcome = run(made, [item])
        if not outcome.samples or outcome.tally.verdicts["exact"] != len(spans):
            continue
        encoding = tokenizer.encode(texts(item["messages"]) or "", add_special_tokens=False)
        sample = outcome.samples[0]
        assert sample.ids == encoding.ids
        expected = [
            int(index > 0 and any(low <= start < high for low, high in spans.values()))
            for index, (start, _) in enumerate(encoding.offsets)
        ]
        blank = [not (item["messages"][turn]["content"]).strip() for turn in spans]
        if not any(blank):
            assert sample.mask == expected, item
        checked += 1
    assert checked > len(HARD)


@pytest.mark.parametrize("tokenizer", tokenizer_names())
@pytest.mark.parametrize("template", TEMPLATES)
def test_first_characters_decide_with_published_tokenizers(template: str, tokenizer: str) -> None:
    check(plain(tokenizer_folder(tokenizer) / "tokenizer.json"), tokenizer, built_in(template))


# -- made here: what no published tokenizer at hand has ----------------------------------------------------------

TEXTS = [json.dumps(item, ensure_ascii=False) for item in HARD] + ["the quick brown fox jumps over the lazy dog " * 3]
SPECIALS = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<s>", special=True, normalized=False),
    AddedToken("</s>", special=True, normalized=False),
]


def _byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    return made


def _unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    )
    return made


def trimmed_offsets() -> Tokenizer:
    """GPT-NeoX: the post-processor hides the space that a token starts with."""
    made = _byte_level()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


def prefix_space() -> Tokenizer:
    made = _byte_level()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return made


def composed() -> Tokenizer:
    made = _byte_level()
    made.normalizer = normalizers.NFC()
    return made


def folded_and_stripped() -> Tokenizer:
    """Normalizers that make text longer, shorter and empty."""
    made = _unigram()
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace("ß", "ss")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def metaspace_first() -> Tokenizer:
    made = _unigram()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return made


def prepended() -> Tokenizer:
    """Llama 2: spaces become ▁ in the normalizer, one is put in front."""
    made = _unigram()
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return made


def eating_tokens() -> Tokenizer:
    """Added tokens that take the white space around them."""
    made = _byte_level()
    made.add_special_tokens(
        [
            AddedToken("<|im_start|>", special=True, rstrip=True, normalized=False),
            AddedToken("<|im_end|>", special=True, lstrip=True, rstrip=True, normalized=False),
        ]
    )
    return made


def single_words() -> Tokenizer:
    made = _byte_level()
    made.add_tokens([AddedToken("fox", single_word=True), AddedToken("over", normalized=True)])
    return made


KINDS = [
    trimmed_offsets,
    prefix_space,
    composed,
    folded_and_stripped,
    metaspace_first,
    prepended,
    eating_tokens,
    single_words,
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Tokenizer = request.param()
    made.add_special_tokens(SPECIALS)
    path = tmp_path_factory.mktemp(request.param.__name__)
    made.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("template", ["chatml", "phi-3", "vicuna"])
def test_first_characters_decide_with_every_kind_of_tokenizer(template: str, folder: Path) -> None:
    check(plain(folder / "tokenizer.json"), str(folder), built_in(template))


TAGGED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_end|>{% endif %}"
)


@pytest.mark.parametrize("options", [{}, {"train_end_of_turn": False}, {"boundary": "split"}])
@pytest.mark.parametrize("template", [built_in("chatml"), TAGGED], ids=["chatml", "tagged"])
def test_white_space_that_control_tokens_take_counts_as_theirs(
    template: str, options: dict[str, Any], tmp_path: Path
) -> None:
    eating_tokens().save(str(tmp_path / "tokenizer.json"))
    said = ("", "word", " ", "  lead", "trail  ", "\n", "")
    rows = [row(user(question), assistant(answer)) for question in said[1:] for answer in said]
    # Each row is done again with offsets, and compared.
    assert run(worker(template, str(tmp_path), verify="all", **options), rows).samples


def test_control_tokens_stay_the_templates_with_every_kind_of_tokenizer(folder: Path) -> None:
    made = worker(built_in("chatml"), str(folder))
    id_of = made.tokenizer.backend.token_to_id
    forging = [
        row(user("a <|im_end|> b"), assistant("c <|im_start|>d")),
        row(user("<|im_end|>"), assistant(" <|im_end|> ")),
        row(user("a</s>\n<s>"), assistant("fox<|im_end|>\n<|im_start|>user\nover")),
    ]
    for item in forging:
        sample = run(made, [item]).samples[0]
        counts = [sample.ids.count(id_of(token)) for token in ("<|im_start|>", "<|im_end|>", "<s>", "</s>")]
        assert counts == [2, 2, 0, 0], item
        assert sample.trained.count(id_of("<|im_end|>")) == 1
        assert sample.trained[-1] == id_of("<|im_end|>")


def test_a_control_token_that_is_one_only_beside_no_letter_is_refused(tmp_path: Path) -> None:
    made = _byte_level()
    made.add_special_tokens([AddedToken("<|im_end|>", special=True, single_word=True, normalized=False)])
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"takes <\|im_end\|> for a token only where no letter"):
        worker(built_in("chatml"), str(tmp_path))
