"""What is measured on: real conversations from beside the project, or others generated from ``samples/``.

Prepared files are kept in ``bench-out/cache`` (or ``$BENCH_OUT/cache``); delete it to have them made anew.
"""

import json
import lzma
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from benchmarks.agents import Pool, trajectory
from benchmarks.common import SCRATCH, Options
from benchmarks.processes import ROOT

SHARED = ROOT.parent / "shared" / "data"
CACHE = SCRATCH / "cache"
KINDS = ("english", "mixed", "tools", "agents")
_QUICK_MEGABYTES = 15
ENGLISH = frozenset(
    "alpaca_eval_outputs t0_train gsm8k gpteacher_codegen gpteacher_roleplay alpaca_en_demo arena_hard "
    "topical_chat taskmaster4 mt_eval_long mtbench101 fastchat_dummy".split()
)
CHINESE = frozenset("smilechat_zh huatuo_zh alpaca_zh_demo kdconv_zh crosswoz_zh sharegpt_zh_1k".split())
# Trajectories of the size: "50 to 200 messages, each of its own shape".
AGENT_MESSAGES = (50, 200)
_GENERATED_ROWS = 2000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file of conversations, one JSON object a line: ``messages``, and ``tools`` where there are any."""

    name: str
    path: Path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @property
    def megabytes(self) -> float:
        return self.size / 1e6

    def rows(self) -> Iterator[Row]:
        """The conversations."""
        with self.path.open("rb") as file:
            yield from map(json.loads, file)


def kinds(options: Options) -> tuple[str, ...]:
    """What to measure on."""
    return ("tools",) if options.size == "tiny" else KINDS


def is_real() -> bool:
    """Whether the real data is beside the project."""
    return (SHARED / "conversations" / "bench_multi.jsonl.xz").is_file()


def tokenizer(options: Options) -> Path:
    """Folder of the Qwen3 tokenizer with its own template, or of the one in the package."""
    real = SHARED / "tokenizers" / "qwen3"
    return real if real.is_dir() and options.size != "tiny" else ROOT / "ifttool" / "tokenizer" / "default"


def own_template(options: Options) -> list[str]:
    """Options that make ifttool use Qwen3's template: the tokenizer's own one if that is Qwen3's."""
    return [] if tokenizer(options).name == "qwen3" else ["--template", "qwen3"]


def origin(options: Options) -> str:
    """What the data is, for notes under tables."""
    real = is_real() and options.size != "tiny"
    return "published conversations" if real else "conversations generated from samples/"


def dataset(kind: str, options: Options) -> Dataset:
    """The conversations of one kind: ``english``, ``chinese``, ``mixed``, ``tools`` or ``agents``.

    ``mixed`` is everything with several turns and without tools: two thirds Chinese, the rest English and others.
    """
    if options.size == "tiny":
        return _cached(f"tiny-{kind}", lambda: islice(_generated(kind, options), 12))
    make = partial(_real if is_real() else _generated, kind, options)
    return _cached(f"{'real' if is_real() else 'generated'}-{kind}", make)


def for_runs(kind: str, options: Options) -> Dataset:
    """The conversations that ifttool itself is timed on: all of a kind, or in a quick run some of them."""
    whole = dataset(kind, options)
    return subset(whole, megabytes=_QUICK_MEGABYTES) if options.size == "quick" else whole


def first_rows(whole: Dataset, folder: Path, *, count: int = 8) -> Dataset:
    """A few rows: what a run costs before there is work."""
    path = folder / f"{whole.name}-first-{count}.jsonl"
    with whole.path.open("rb") as source:
        path.write_bytes(b"".join(islice(source, count)))
    return Dataset(path.stem, path)


def subset(whole: Dataset, *, megabytes: float) -> Dataset:
    """Rows spread evenly over a data set, about so many megabytes of them; at least one."""
    step = max(1, round(whole.megabytes / megabytes))
    if step == 1:
        return whole
    return _cached(f"{whole.name}-every-{step}", lambda: islice(whole.rows(), 0, None, step))


def repeated(whole: Dataset, folder: Path, *, times: int) -> Dataset:
    """The same rows several times over, in a file of its own."""
    path = folder / f"{whole.name}-x{times}.jsonl"
    data = whole.path.read_bytes()
    with path.open("wb") as file:
        for _ in range(times):
            file.write(data)
    return Dataset(path.stem, path)


@dataclass(frozen=True, slots=True)
class Large:
    """Data as large as what is trained on.

    Attributes:
        rows: All of it.
        base: The rows that it repeats.
        times: How often.
    """

    rows: Dataset
    base: Dataset
    times: int


def large(kind: str, folder: Path, options: Options, *, megabytes: float | None = None) -> Large:
    """About a gigabyte of one kind, or so many ``megabytes``: what :func:`for_runs` gives, several times over.

    Agents' trajectories are so many more instead, each of its own shape like the others: repeated ones would be known
    from the second time on.
    """
    whole = for_runs(kind, options)
    wanted = options.pick(full=1000, quick=4 * _QUICK_MEGABYTES, tiny=0) if megabytes is None else megabytes
    times = max(2, round(wanted / whole.megabytes))
    if kind == "agents" and options.size == "full":
        more = _cached(f"{whole.name}-x{times}", lambda: _trajectories(options, times=times))
        return Large(more, more, 1)
    return Large(repeated(whole, folder, times=times), whole, times)


def of_turns(turns: int, total: int, *, agents: bool, options: Options) -> Dataset:
    """Conversations of ``turns`` messages each, ``total`` messages together; agents' have shapes of their own."""
    kind = "agents" if agents else "chats"
    source = dataset("tools" if agents else "english", options)

    def rows() -> Iterator[Row]:
        if agents:
            pool = Pool.of(islice(source.rows(), 3000))
            yield from (trajectory(pool, seed=seed, messages=turns) for seed in range(total // turns))
            return
        texts: dict[str, list[str]] = {"user": [], "assistant": []}
        for row in islice(source.rows(), 5000):
            for message in row["messages"]:
                if message["role"] in texts and message["content"]:
                    texts[message["role"]].append(message["content"][:400])
        random_ = random.Random(turns)
        for _ in range(total // turns):
            roles = ("user", "assistant") * (turns // 2)
            yield {"messages": [{"role": role, "content": random_.choice(texts[role])} for role in roles]}

    tiny = "tiny-" if options.size == "tiny" else ""
    return _cached(f"{tiny}{kind}-{turns}-{total}", rows)


def _cached(name: str, make: Callable[[], Iterable[Row]]) -> Dataset:
    """A data set that is made once."""
    path = CACHE / f"{name}.jsonl"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("w", encoding="utf-8") as file:
            for row in make():
                kept = {key: row[key] for key in ("messages", "tools") if row.get(key)}
                file.write(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n")
        part.replace(path)
    return Dataset(name, path)


def _real(kind: str, options: Options) -> Iterator[Row]:
    if kind == "agents":
        return _trajectories(options)
    if kind == "mixed":
        return (row for row in _unpacked("bench_multi") if not row.get("tools"))
    if kind == "tools":
        return (row for row in _unpacked("bench_multi") if _source(row) == "sgd_tools")
    sources = {"english": ENGLISH, "chinese": CHINESE}[kind]
    rows = chain(_unpacked("bench_single"), _unpacked("bench_multi"))
    return (row for row in rows if _source(row) in sources and not row.get("tools"))


def _unpacked(name: str) -> Iterator[Row]:
    with lzma.open(SHARED / "conversations" / f"{name}.jsonl.xz", "rb") as file:
        yield from map(json.loads, file)


def _source(row: Row) -> str:
    return str(row["id"]).rpartition("-")[0]


def _trajectories(options: Options, *, times: int = 1) -> Iterator[Row]:
    """Seeded trajectories whose numbers of messages lie evenly between the two ends, several times over."""
    low, high = AGENT_MESSAGES
    count = options.pick(full=600, quick=600, tiny=3)
    pool = Pool.of(islice(dataset("tools", options).rows(), 3000))
    for seed in range(count * times):
        yield trajectory(pool, seed=seed, messages=low + (high - low) * (seed % count) // max(1, count - 1))


def _generated(kind: str, options: Options) -> Iterator[Row]:
    """Rows of ``samples/``, over and over, each with words of its own."""
    if kind == "agents":
        yield from _trajectories(options)
        return
    files = {"english": ["chat"], "mixed": ["chat", "multi_turn"], "chinese": ["chat"], "tools": ["tools"]}[kind]
    rows = []
    for name in files:
        with (ROOT / "samples" / f"{name}.jsonl").open("rb") as file:
            rows += [row for row in map(json.loads, file) if "messages" in row]
    for number in range(_GENERATED_ROWS):
        row = rows[number % len(rows)]
        words = " ".join(random.Random(number).choices(_CHINESE if kind == "chinese" else _ENGLISH, k=120))
        messages = [
            message | {"content": f"{message.get('content') or ''} {words}"}
            if message["role"] in ("user", "assistant")
            else message
            for message in row["messages"]
        ]
        yield row | {"messages": messages}


_ENGLISH = "the tower stands near old river, tall and bright; its windows (42 of them) look north over a garden".split()
_CHINESE = "高塔 矗立在 旧河 附近， 它的 窗户 朝北 望着 花园， 人们 常在 傍晚 来这里 散步 谈天。".split()
