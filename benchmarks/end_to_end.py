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
        whole: Seconds for all rows: the start once, and the work by bytes.
    """

    start: float
    part: float
    part_megabytes: float
    whole: float


def measure(kind: str, options: Options, folder: Path) -> tuple[float, dict[str, Timed]]:
    """Run every side on one kind of data; gives ifttool's median seconds, and the others'."""
    whole = data.for_runs(kind, options)
    part = data.subset(data.dataset(kind, options), megabytes=options.pick(full=12, quick=3, tiny=1))
    few = data.first_rows(whole, folder)
    sides: dict[str, Callable[[], Run]] = {
        "ifttool": partial(own.mask, whole, folder, options, workers=WORKERS),
    }
    names = _others(kind, options)
    for name in names:
        sides[name] = partial(_other, name, part, folder, options)
        sides[f"{name}, start"] = partial(_other, name, few, folder, options)
    runs = interleaved(sides, options.repeats)
    others = {}
    for name in names:
        start, some = wall(runs[f"{name}, start"]), wall(runs[name])
        work = max(0.0, some - start) * max(0, whole.size - few.size) / max(1, part.size - few.size)
        others[name] = Timed(start, some, part.megabytes, start + work)
    return wall(runs["ifttool"]), others


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
    for kind in data.kinds(options):
        with scratch() as folder:
            ours, others = measure(kind, options, folder)
        size = data.for_runs(kind, options).megabytes
        rows.append([kind, "ifttool mask", size, "", ours, ours, size / ours, ""])
        rows += [
            [kind, name, it.part_megabytes, it.start, it.part, it.whole, size / it.whole, f"{it.whole / ours:.1f}"]
            for name, it in others.items()
        ]
        best = min((it.whole for name, it in others.items() if name != TRL), default=None)
        if best is not None:
            result.check(f"{kind}: times as fast as `datasets.map`", limit=TARGETS[kind], measured=best / ours)
    result.table(
        "From JSONL to Parquet with masks, process start to finish",
        ["data", "side", "timed on, MB", "start, s", "timed, s", "whole, s", "MB/s of JSONL", "times ours"],
        rows,
        note=f"Data: {data.origin(options)}; {WORKERS} processes each; wall time. ifttool uses Qwen3's own template, "
        "the others a plain ChatML template with generation tags (with tools where the data has them). They are "
        "timed on a part of the rows and scaled by bytes to the whole; their start, timed on a few rows, counts once.",
    )


if __name__ == "__main__":
    script("end_to_end", __doc__, body)
