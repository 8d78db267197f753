"""With and without the fast backend, beside ``tokenizers.encode_batch_fast`` alone on the same text.

python -m benchmarks.backends [--quick]
"""

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import data, own
from benchmarks.common import Options, Result, cpu, has, interleaved, module, scratch, script, wall
from benchmarks.processes import Run, run
from benchmarks.rendered import texts_of

SLOW, FAST, ALONE = "--backend tokenizers", "--backend fastokens", "encode_batch_fast alone"


def _times(runs: Sequence[Run], base: Sequence[Run]) -> list[str]:
    return [f"{wall(runs) / wall(base):.2f}", f"{cpu(runs) / cpu(base):.2f}"]


def body(options: Options, result: Result) -> None:
    rows = []
    for kind in data.kinds(options) if options.size != "quick" else ("english",):
        part = data.subset(data.dataset(kind, options), megabytes=options.pick(full=50, quick=4, tiny=1))
        texts = texts_of(part, options)
        alone = module("benchmarks.sides.encode_alone", texts, "--tokenizer", data.tokenizer(options))
        with scratch() as folder:
            sides: dict[str, Callable[[], Run]] = {
                ALONE: partial(run, alone),
                SLOW: partial(own.mask, part, folder, options, workers=1, backend="tokenizers"),
            }
            if has("fastokens"):
                sides[FAST] = partial(own.mask, part, folder, options, workers=1, backend="fastokens")
            runs = interleaved(sides, options.repeats)
        base = runs[ALONE]
        rows += [
            [kind, name, part.megabytes, wall(found), cpu(found), *_times(found, base)] for name, found in runs.items()
        ]
        result.check(
            f"{kind}: --backend tokenizers, time against encode_batch_fast alone",
            limit=110,
            measured=100 * wall(runs[SLOW]) / wall(base),
            at_least=False,
            unit="%",
        )
    result.table(
        "Backends: one process, start to finish",
        ["data", "side", "MB", "seconds", "CPU s", "seconds / alone", "CPU / alone"],
        rows,
        note=f"Data: {data.origin(options)}. *alone* loads the tokenizer, reads the rendered text and encodes it on "
        "one thread: no JSON, no rendering, no masks, nothing written.",
    )


if __name__ == "__main__":
    script("backends", __doc__, body)
