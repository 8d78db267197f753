"""How near to the floor: what parsing, encoding and writing cost anyone, rendering and masks being free.

python -m benchmarks.floor [--quick]
"""

from functools import partial

from benchmarks import data, own
from benchmarks.common import WORKERS, Options, Result, cpu, interleaved, module, scratch, script, wall
from benchmarks.data import Dataset
from benchmarks.processes import Run, run
from benchmarks.rendered import texts_of


def _floor(rows: Dataset, options: Options, times: int = 1) -> Run:
    with scratch() as folder:
        program = module("benchmarks.sides.floor", rows.path, texts_of(rows, options), folder / "floor")
        how = ["--tokenizer", data.tokenizer(options), "--processes", WORKERS, "--times", times]
        return run([*program, *how])


def body(options: Options, result: Result) -> None:
    rows = []
    for kind in data.kinds(options):
        whole = data.for_runs(kind, options)
        with scratch() as folder:
            large = data.large(kind, folder, options)
            for rows_to_render in (whole, large.base):
                texts_of(rows_to_render, options)
            sizes = {"": whole.megabytes, ", large": large.rows.megabytes}
            runs = interleaved(
                {
                    "floor": partial(_floor, whole, options),
                    "ifttool": partial(own.mask, whole, folder, options, workers=WORKERS),
                    "floor, large": partial(_floor, large.base, options, large.times),
                    "ifttool, large": partial(own.mask, large.rows, folder, options, workers=WORKERS),
                },
                options.repeats,
            )
        for name, size in sizes.items():
            floor, ours = runs[f"floor{name}"], runs[f"ifttool{name}"]
            share, used = 100 * wall(floor) / wall(ours), 100 * cpu(floor) / cpu(ours)
            rows.append([f"{kind}{name}", size, wall(floor), wall(ours), f"{share:.0f}%", f"{used:.0f}%"])
            result.check(f"{kind}{name}: share of the floor's speed", limit=80, measured=share, unit="%")
    result.table(
        "The floor beside `ifttool mask`, process start to finish",
        ["data", "MB", "floor, s", "ifttool, s", "speed / floor", "CPU / floor"],
        rows,
        note=f"Data: {data.origin(options)}, as it is and as much as a training set; {WORKERS} processes each. The "
        "floor loads the tokenizer once, parses every line, encodes the rendered text with the same backend and writes "
        "the same columns with the same settings; it renders, masks and checks nothing.",
    )


if __name__ == "__main__":
    script("floor", __doc__, body)
