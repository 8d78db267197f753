"""How near to the floor: what parsing, encoding and writing cost anyone, rendering and masks being free.

python -m benchmarks.floor [--quick]
"""

from functools import partial

from benchmarks import data, own
from benchmarks.common import WORKERS, Options, Result, cpu, interleaved, module, scratch, script, wall
from benchmarks.data import Dataset
from benchmarks.processes import Run, run
from benchmarks.rendered import texts_of


def _floor(rows: Dataset, options: Options) -> Run:
    with scratch() as folder:
        program = module("benchmarks.sides.floor", rows.path, texts_of(rows, options), folder / "floor")
        return run([*program, "--tokenizer", data.tokenizer(options), "--processes", WORKERS])


def body(options: Options, result: Result) -> None:
    rows = []
    for kind in data.kinds(options):
        whole = data.for_runs(kind, options)
        texts_of(whole, options)
        with scratch() as folder:
            few = data.first_rows(whole, folder)
            runs = interleaved(
                {
                    "floor": partial(_floor, whole, options),
                    "ifttool": partial(own.mask, whole, folder, options, workers=WORKERS),
                    "ifttool on 8 rows": partial(own.mask, few, folder, options, workers=WORKERS),
                },
                options.repeats,
            )
        share = 100 * wall(runs["floor"]) / wall(runs["ifttool"])
        used = 100 * cpu(runs["floor"]) / cpu(runs["ifttool"])
        seconds = [wall(runs[name]) for name in ("floor", "ifttool", "ifttool on 8 rows")]
        rows.append([kind, whole.megabytes, *seconds, f"{share:.0f}%", f"{used:.0f}%"])
        result.check(f"{kind}: share of the floor's speed", limit=80, measured=share, unit="%")
    result.table(
        "The floor beside `ifttool mask`, process start to finish",
        ["data", "MB", "floor, s", "ifttool, s", "of it start, s", "speed / floor", "CPU / floor"],
        rows,
        note=f"Data: {data.origin(options)}; {WORKERS} processes each. The floor parses every line, encodes the "
        "rendered text with the same backend and writes the same columns with the same settings; it renders, masks "
        "and checks nothing.",
    )


if __name__ == "__main__":
    script("floor", __doc__, body)
