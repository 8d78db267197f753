"""From JSONL to Parquet with masks: ``ifttool mask`` beside ``datasets.map`` + ``apply_chat_template`` and TRL.

python -m benchmarks.end_to_end [--quick]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks import data, own
from benchmarks.common import WORKERS, Options, Result, has, interleaved, module, scratch, script, wall
from benchmarks.data import Dataset
from benchmarks.processes import ROOT, Run, run

TARGETS = {"english": 40, "mixed": 20, "tools": 15, "agents": 15}
TEMPLATES = ROOT / "benchmarks" / "templates"
MAP, BATCHED, TRL = "datasets.map", "datasets.map, batched", "TRL"


@dataclass(frozen=True, slots=True)
class Timed:
    """One of the others on one kind of data.

    Attributes:
        start: Median seconds on a few rows.
        part: Median seconds on a part of the rows.
        part_megabytes: The size of that part.
        rate: Seconds a byte, the start aside.
    """

    start: float
    part: float
    part_megabytes: float
    rate: float

    def on(self, size: int) -> float:
        """Seconds for so many bytes: the start once, and the work by bytes."""
        return self.start + self.rate * size


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of data.

    Attributes:
        sizes: Bytes of the data as it is, and of a large file.
        ours: ifttool's median seconds on both.
        others: The other sides.
    """

    sizes: tuple[int, int]
    ours: tuple[float, float]
    others: dict[str, Timed]


def measure(kind: str, options: Options, folder: Path) -> Measured:
    """Run every side on one kind of data."""
    whole = data.for_runs(kind, options)
    large = data.large(kind, folder, options).rows
    part = data.subset(data.dataset(kind, options), megabytes=options.pick(full=12, quick=3, tiny=1))
    few = data.first_rows(whole, folder)
    sides: dict[str, Callable[[], Run]] = {
        "ifttool": partial(own.mask, whole, folder, options, workers=WORKERS),
        "ifttool, large": partial(own.mask, large, folder, options, workers=WORKERS),
    }
    names = _others(kind, options)
    for name in names:
        sides[name] = partial(_other, name, part, folder, options)
        sides[f"{name}, start"] = partial(_other, name, few, folder, options)
    runs = interleaved(sides, options.repeats)
    others = {}
    for name in names:
        start, some = wall(runs[f"{name}, start"]), wall(runs[name])
        others[name] = Timed(start, some, part.megabytes, max(0.0, some - start) / max(1, part.size - few.size))
    ours = (wall(runs["ifttool"]), wall(runs["ifttool, large"]))
    return Measured((whole.size, large.size), ours, others)


def _others(kind: str, options: Options) -> list[str]:
    """The sides that are there and fit: a batch has one list of tools, so rows with their own go one by one."""
    if not options.peers or not has("transformers", "datasets"):
        return []
    found = [MAP] if kind in ("tools", "agents") or options.size != "full" else [MAP, BATCHED]
    return [*found, TRL] if has("trl", "torch") and (options.size != "quick" or kind == "english") else found


def _other(name: str, rows: Dataset, folder: Path, options: Options) -> Run:
    tools = any("tools" in row for row in islice(rows.rows(), 1))
    template = TEMPLATES / ("chatml-tools-generation.jinja" if tools else "chatml-generation.jinja")
    program = "benchmarks.sides.trl_prepare" if name == TRL else "benchmarks.sides.transformers_map"
    given = ["--tokenizer", data.tokenizer(options), "--template", template, "--processes", WORKERS]
    batched = ["--batched"] if name == BATCHED else []
    return run([*module(program, rows.path, folder / "other.parquet"), *given, *batched])


def body(options: Options, result: Result) -> None:
    rows: list[Sequence[object]] = []
    timings: list[Sequence[object]] = []
    for kind in data.kinds(options):
        with scratch() as folder:
            found = measure(kind, options, folder)
        for name, size, ours in zip((kind, f"{kind}, large"), found.sizes, found.ours, strict=True):
            rows.append([name, "ifttool mask", size / 1e6, ours, size / ours / 1e6, ""])
            for other, timed in found.others.items():
                whole = timed.on(size)
                rows.append([name, other, size / 1e6, whole, size / whole / 1e6, f"{whole / ours:.1f}"])
            for other in (MAP, BATCHED):
                if other in found.others:
                    ratio = found.others[other].on(size) / ours
                    result.check(f"{name}: times as fast as `{other}`", limit=TARGETS[kind], measured=ratio)
        timings += [[kind, name, it.part_megabytes, it.start, it.part] for name, it in found.others.items()]
    result.table(
        "From JSONL to Parquet with masks, process start to finish",
        ["data", "side", "MB", "seconds", "MB/s of JSONL", "times ours"],
        rows,
        note=f"Data: {data.origin(options)}, as it is and as much as a training set; {WORKERS} processes "
        "each; wall time. ifttool uses Qwen3's own template, the others a plain ChatML template with generation tags "
        "(with tools where the data has them). The others are timed on a part of the rows, as the next table says, "
        "and scaled by bytes; their start counts once.",
    )
    if timings:
        result.table("What the others were timed on", ["data", "side", "MB", "on 8 rows, s", "seconds"], timings)


if __name__ == "__main__":
    script("end_to_end", __doc__, body)
