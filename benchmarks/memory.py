"""Peak memory of the whole process tree on much more input than fits, and whether it stays flat.

python -m benchmarks.memory [--quick]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import data, own
from benchmarks.common import WORKERS, Options, Result, scratch, script
from benchmarks.processes import Memory

_EVERY = 0.2  # seconds; the system takes some milliseconds to count the pages of a process
_POINTS = 10


def _peaks(samples: Sequence[Memory], parts: int) -> list[float]:
    """The largest tree in each of so many equal stretches of time, in MB."""
    end = samples[-1].seconds
    stretches: list[list[int]] = [[] for _ in range(parts)]
    for sample in samples:
        stretches[min(parts - 1, int(parts * sample.seconds / end))].append(sample.tree)
    return [max(stretch, default=0) / 1e6 for stretch in stretches]


def _growth(samples: Sequence[Memory]) -> float:
    """Peak of the last third, times that of the second: the first holds start and warming up."""
    _, middle, last = _peaks(samples, 3)
    return last / middle if middle else 1.0


def body(options: Options, result: Result) -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        raise SystemExit("memory of process trees is read from /proc, which this system doesn't have")
    wanted = options.pick(full=2000, quick=200, tiny=0)
    rows, curves = [], []
    for kind in ("mixed", "agents") if options.size == "full" else ("mixed",):
        for workers in (1, WORKERS) if options.size != "tiny" else (1,):
            with scratch() as folder:
                big = data.large(kind, folder, options, megabytes=wanted).rows
                samples = own.mask(big, folder, options, workers=workers, sample_every=_EVERY).memory
                size = big.megabytes
            if not samples:
                print("  too short to be sampled", file=sys.stderr)
                continue
            peak = max(sample.tree for sample in samples) / 1e6
            counted = max(sample.counted for sample in samples) / 1e6
            largest = max(sample.largest for sample in samples) / 1e6
            rows.append([kind, workers, size, samples[-1].seconds, peak, counted, largest, f"{_growth(samples):.2f}"])
            curves.append([f"{kind}, {workers}", *_peaks(samples, _POINTS)])
            named = f"{kind}, {workers} worker{'s' if workers > 1 else ''}"
            result.check(
                f"memory: {named}: peak of the tree, a worker",
                limit=500,
                measured=peak / workers,
                at_least=False,
                unit="MB",
            )
            growth = _growth(samples)
            result.check(f"memory: {named}: last third, times the second", limit=1.1, measured=growth, at_least=False)
    result.table(
        "Peak resident memory of the whole process tree, MB",
        [
            "data",
            "workers",
            "input, MB",
            "seconds",
            "peak, tree",
            "with shared pages counted for each",
            "largest process",
            "growth",
        ],
        rows,
        note=f"Data: {data.origin(options)}, much of it; sampled every {1000 * _EVERY:.0f} ms. The tree counts "
        "pages that processes share once. Growth is the peak of the last third of the time against that of the second.",
    )
    result.table(
        "Peak of the tree over time, MB, in tenths of the run",
        ["data, workers", *map(str, range(1, _POINTS + 1))],
        curves,
    )


if __name__ == "__main__":
    script("memory", __doc__, body)
