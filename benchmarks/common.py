"""What all scripts share: options, interleaved rounds, and results as tables, JSON and verdicts on targets."""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, Run, compile_sources

RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = Path(os.environ.get("BENCH_OUT", ROOT / "bench-out"))
WORKERS = 2
PACKAGES = "ifttool fastokens tokenizers pyarrow numpy msgspec jinja2 typer transformers datasets trl torch".split()


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure.

    Attributes:
        size: ``full`` for figures worth keeping, ``quick`` to see where one stands, ``tiny`` to see that it runs.
        repeats: Rounds; each runs every side once, and the median counts.
        peers: Whether to measure other libraries.
        results: Folder for the JSON.
    """

    size: str
    repeats: int
    peers: bool
    results: Path

    def pick(self, *, full: int, quick: int, tiny: int) -> int:
        """A number by size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]


def parse_options(description: str | None, arguments: Sequence[str] | None = None) -> Options:
    """The options that every script takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_const", dest="size", const="quick", help="small data, one round")
    parser.add_argument("--tiny", action="store_const", dest="size", const="tiny", help="a few rows of samples/")
    parser.add_argument("--repeats", type=int, help="rounds; the median counts [default: 3, or 1]")
    parser.add_argument("--no-peers", action="store_false", dest="peers", help="leave other libraries out")
    parser.add_argument("--results", type=Path, help="folder for the JSON [default: benchmarks/results]")
    given = parser.parse_args(arguments)
    size = given.size or "full"
    # Figures of small data would be taken for those of the real thing.
    results = given.results or (RESULTS if size == "full" else SCRATCH / size)
    return Options(size, given.repeats or (3 if size == "full" else 1), given.peers, results)


def has(*packages: str) -> bool:
    """Whether all these packages are installed."""
    return all(importlib.util.find_spec(name) is not None for name in packages)


@dataclass(frozen=True, slots=True)
class Check:
    """A target and what was measured.

    Attributes:
        target: What is measured, in words.
        limit: What it must reach.
        measured: What was measured.
        at_least: Whether larger is better.
        unit: ``x``, ``%``, ``ms`` or ``MB``.
    """

    target: str
    limit: float
    measured: float
    at_least: bool = True
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def cells(self) -> list[str]:
        """Target, limit, measured and verdict, as text."""
        sign = "≥" if self.at_least else "≤"
        shown = [f"{number:.2f}".rstrip("0").rstrip(".") for number in (self.limit, self.measured)]
        unit = {"x": "×"}.get(self.unit, f" {self.unit}")
        return [self.target, f"{sign} {shown[0]}{unit}", f"{shown[1]}{unit}", "met" if self.met else "**not met**"]


@dataclass(slots=True)
class Result:
    """Everything one script found out."""

    script: str
    options: Options
    tables: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, note: str = "") -> None:
        """Add a table and print it; numbers are rounded for reading."""
        shown = {"title": title, "columns": list(columns), "rows": [list(map(cell, row)) for row in rows], "note": note}
        self.tables.append(shown)
        print(f"\n{markdown(shown)}", flush=True)

    def check(self, target: str, *, limit: float, measured: float, at_least: bool = True, unit: str = "x") -> None:
        """Add a verdict on a target."""
        self.checks.append(Check(target, limit, round(measured, 3), at_least, unit))

    def write(self) -> Path:
        """Write it all as JSON."""
        self.options.results.mkdir(parents=True, exist_ok=True)
        path = self.options.results / f"{self.script}.json"
        about = {
            "script": self.script,
            "size": self.options.size,
            "repeats": self.options.repeats,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine() | {"load_before": round(self.load_before, 2)},
            "versions": versions(),
        }
        checks = [asdict(check) | {"met": check.met} for check in self.checks]
        text = json.dumps(about | {"tables": self.tables, "checks": checks}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        return path


def read_result(path: Path) -> dict[str, Any]:
    """A result as it was written, its checks as objects."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found["checks"] = [
        Check(**{name: value for name, value in check.items() if name != "met"}) for check in found["checks"]
    ]
    return found


def script(name: str, description: str | None, body: Callable[[Options, Result], None]) -> None:
    """Run a script: options, measurements, JSON, verdicts."""
    options = parse_options(description)
    compile_sources()
    result = Result(name, options)
    body(options, result)
    path = result.write()
    if result.checks:
        print(f"\n{markdown(checks_table(result.checks))}")
    print(f"\n{path}", flush=True)


def checks_table(checks: Sequence[Check]) -> dict[str, Any]:
    """Targets, measured, met or not."""
    columns = ["target", "needed", "measured", "verdict"]
    return {"title": "Targets", "columns": columns, "rows": [check.cells() for check in checks], "note": ""}


def cell(value: Any) -> str:
    """A value as it stands in a table: three significant digits, no exponent."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def markdown(table: Mapping[str, Any]) -> str:
    """A table with its title and note."""
    columns, rows = table["columns"], table["rows"]
    widths = [max(len(line[index]) for line in (columns, *rows)) for index in range(len(columns))]
    lines = [f"**{table['title']}**", "", _line(columns, widths)]
    lines.append(
        "|"
        + "|".join("-" * (width + 2) if not index else "-" * (width + 1) + ":" for index, width in enumerate(widths))
        + "|"
    )
    lines += [_line(row, widths) for row in rows]
    return "\n".join([*lines, "", table["note"]] if table["note"] else lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        text.ljust(width) if not index else text.rjust(width)
        for index, (text, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join([first, *rest])} |"


def interleaved(sides: Mapping[str, Callable[[], Run]], repeats: int) -> dict[str, list[Run]]:
    """Run every side once a round, so that a slow moment of the machine hits all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for round_ in range(repeats):
        for name, side in sides.items():
            found = side()
            runs[name].append(found)
            print(f"  [{round_ + 1}/{repeats}] {name}: {found.wall:.2f} s wall, {found.cpu:.2f} s CPU", file=sys.stderr)
    return runs


def wall(runs: Sequence[Run]) -> float:
    """Median wall time in seconds."""
    return statistics.median(run.wall for run in runs)


def cpu(runs: Sequence[Run]) -> float:
    """Median of user and system time in seconds."""
    return statistics.median(run.cpu for run in runs)


def module(name: str, *arguments: object) -> list[object]:
    """A module of this project as a program."""
    return [sys.executable, "-m", name, *arguments]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=SCRATCH))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> dict[str, Any]:
    """What it ran on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "cpu": _cpu_model(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_after": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Versions of everything that is measured."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
