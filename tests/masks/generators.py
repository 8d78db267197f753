"""Rows, tokenizers and workers that the mask tests share, and ways to look at what a worker made of a row."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import tokenizers

import ifttool.encode
import ifttool.worker
from helpers import ROOT, raw_row
from ifttool.errors import RowError
from ifttool.ledger import Tally
from ifttool.recipe import Recipe, parse_date
from ifttool.records import Place
from ifttool.template.chat_template import ChatTemplate
from ifttool.tokenizer.control import ControlTokens
from ifttool.tokenizer.load import Tokenizer, load_tokenizer
from ifttool.worker import Worker

Message = dict[str, Any]
Row = dict[str, Any]

SHARED_TOKENIZERS = ROOT.parent / "shared" / "data" / "tokenizers"
DATE = "2026-01-15T12:00:00"
"""The clock of ``jinja_oracle.NOW``."""


# -- messages ---------------------------------------------------------------------------------------------------


def system(content: Any, **more: Any) -> Message:
    return {"role": "system", "content": content, **more}


def user(content: Any, **more: Any) -> Message:
    return {"role": "user", "content": content, **more}


def assistant(content: Any, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


def tool(content: Any, **more: Any) -> Message:
    return {"role": "tool", "content": content, **more}


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "call00000", "type": "function", "function": {"name": name, "arguments": arguments}}


def row(*messages: Message, **more: Any) -> Row:
    return {"messages": list(messages), **more}


# -- tokenizers and workers -------------------------------------------------------------------------------------


def tokenizer_names() -> list[str]:
    """``default`` and the real tokenizers beside the project, if they are there."""
    return ["default", *sorted(path.parent.name for path in SHARED_TOKENIZERS.glob("*/tokenizer.json"))]


def tokenizer_path(name: str) -> str:
    folder = SHARED_TOKENIZERS / name
    return str(folder) if name != "default" and folder.exists() else name


def tokenizer_folder(name: str) -> Path:
    """Where the files of a tokenizer are."""
    return cached_tokenizer(tokenizer_path(name)).folder


@cache
def cached_tokenizer(source: str) -> Tokenizer:
    return load_tokenizer(source)


@cache
def _control_of(source: str) -> ControlTokens:
    return ControlTokens(cached_tokenizer(source))


@cache
def backend(name: str) -> tokenizers.Tokenizer:
    """A tokenizer straight from its file, for oracles."""
    loaded = tokenizers.Tokenizer.from_file(str(tokenizer_folder(name) / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def built_in(name: str) -> str:
    """The text of a built-in template."""
    return (ROOT / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def worker(
    template: str, tokenizer: str = "default", *, named: Mapping[str, str] | None = None, **options: Any
) -> Worker:
    """A worker on the text of a template; tokenizers and their twins are loaded once a session.

    ``named`` are special tokens, such as ``eos_token``, for tokenizers whose folder doesn't name them.
    """

    def load(source: str) -> Tokenizer:
        loaded = cached_tokenizer(source)
        return replace(loaded, special_tokens={**(named or {}), **loaded.special_tokens})

    recipe = Recipe(
        template=template,
        template_name="test",
        tokenizer=tokenizer_path(tokenizer),
        date=DATE,
        **{"backend": "tokenizers", **options},
    )
    with (
        mock.patch.object(ifttool.worker, "load_tokenizer", load),
        mock.patch.object(ifttool.worker, "build_template", _cached_template),
        mock.patch.object(ifttool.encode, "ControlTokens", lambda loaded: _control_of(loaded.name)),
    ):
        return Worker(recipe)


def _cached_template(recipe: Recipe, special_tokens: dict[str, str]) -> ChatTemplate:
    """Workers that differ in nothing a template can read share it: compiling one takes longer than a test."""
    read = frozenset((name, token) for name, token in special_tokens.items() if name in recipe.template)
    return _compiled(recipe.template, read, json.dumps(dict(recipe.template_kwargs)))


@lru_cache(maxsize=64)
def _compiled(template: str, special_tokens: frozenset[tuple[str, str]], kwargs: str) -> ChatTemplate:
    return ChatTemplate(
        template,
        name="test",
        special_tokens=dict(special_tokens),
        kwargs=json.loads(kwargs),
        clock=parse_date(DATE),
    )


# -- what became of rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its ids and mask, and the input row and turn it comes from."""

    ids: list[int]
    mask: list[int]
    line: int
    turn: int | None
    verdict: str
    truncated: bool

    @property
    def trained(self) -> list[int]:
        return [token for token, bit in zip(self.ids, self.mask, strict=True) if bit]

    @property
    def untrained(self) -> list[int]:
        return [token for token, bit in zip(self.ids, self.mask, strict=True) if not bit]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Samples of a few rows, what was left out (line, code), and the counts."""

    samples: list[Sample]
    left_out: list[tuple[int, str]]
    tally: Tally


def run(worker: Worker, rows: Sequence[Row]) -> Outcome:
    """Put rows through a worker as the commands do."""
    left_out: list[tuple[int, str]] = []

    def refuse(place: Place, data: bytes | None, error: RowError, kind: str) -> None:
        left_out.append((place.line, error.code))

    tally = Tally()
    samples: list[Sample] = []
    for batch in worker.samples([raw_row(row, line) for line, row in enumerate(rows, start=1)], tally, refuse):
        ids, mask, bounds = batch.ids.tolist(), batch.mask.tolist(), batch.rows.tolist()
        for index, origin in enumerate(batch.origins):
            own = slice(bounds[index], bounds[index + 1])
            samples.append(
                Sample(ids[own], mask[own], origin.place.line, origin.turn, origin.verdict, origin.truncated)
            )
    tally.check()
    return Outcome(samples, left_out, tally)


def only(worker: Worker, row: Row) -> Sample:
    """The one sample of one row."""
    outcome = run(worker, [row])
    assert (len(outcome.samples), outcome.left_out) == (1, [])
    return outcome.samples[0]


def marked(worker: Worker, sample: Sample) -> str:
    """The text of a sample with «» around what is trained. For tokenizers that lose nothing."""
    out: list[str] = []
    low = 0
    while low < len(sample.ids):
        bit, high = sample.mask[low], low
        while high < len(sample.ids) and sample.mask[high] == bit:
            high += 1
        text = worker.tokenizer.backend.decode(sample.ids[low:high], skip_special_tokens=False)
        out.append(f"«{text}»" if bit else text)
        low = high
    return "".join(out)


def shown(template: str, item: Row, tokenizer: str = "default", **options: Any) -> str:
    """The text of the one sample of a row with «» around what is trained."""
    made = worker(template, tokenizer, **options)
    return marked(made, only(made, item))


def chatml(*turns: tuple[str, str]) -> str:
    """ChatML by hand."""
    return "".join(f"<|im_start|>{role}\n{text}\n" for role, text in turns)


# -- random rows ------------------------------------------------------------------------------------------------

WORDS = (
    "the quick brown fox naïve cafe\u0301 über 你好 世界 こんにちは мир שלום ไทย 🫨 👩‍🚀 x=1; 3.14 don't e.g. {k} \\n a_b "
    "</s > <b> <|nope|> [x] --- ... HELLO I'm"
).split(" ")
"""Words of several scripts and shapes; none is a token that templates or tokenizers treat specially."""
_JOINTS = (" ", " ", " ", " ", "\n", "\n\n", "  ", "\t", ", ")


def sentence(rng: random.Random, *, longest: int = 12, edges: bool = True) -> str:
    """Some words, now and then with white space around them or nothing at all."""
    count = rng.randint(1, longest)
    parts = [rng.choice(WORDS)]
    for _ in range(count - 1):
        parts += [rng.choice(_JOINTS), rng.choice(WORDS)]
    text = "".join(parts)
    if not edges:
        return text
    return {0: f" {text}", 1: f"{text}\n", 2: f"\n{text} "}.get(rng.randrange(24), text)


SHAPES: tuple[tuple[str, ...], ...] = (
    ("user", "assistant"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user", "assistant"),
    ("system", "user", "assistant", "user", "assistant"),
    ("user", "assistant", "user", "assistant", "user", "assistant"),
    ("user", "assistant", "user"),
)


def random_row(rng: random.Random, shapes: Sequence[Sequence[str]] = SHAPES) -> Row:
    """A plain chat of a random shape."""
    return {"messages": [{"role": role, "content": sentence(rng)} for role in rng.choice(shapes)]}
