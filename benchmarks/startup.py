"""How long the shell waits for help and for completion, beside an interpreter that does nothing.

python -m benchmarks.startup [--quick]
"""

import sys
from collections.abc import Callable
from functools import partial

from benchmarks.common import Options, Result, cpu, interleaved, script, wall
from benchmarks.own import console_script
from benchmarks.processes import Run, run

NOTHING, HELP, COMMAND_HELP, COMPLETION = "python -c pass", "ifttool --help", "ifttool mask --help", "completion"


def body(options: Options, result: Result) -> None:
    ifttool = console_script()
    asked = {"_IFTTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "ifttool ma", "COMP_CWORD": "1"}
    sides: dict[str, Callable[[], Run]] = {
        NOTHING: partial(run, [sys.executable, "-c", "pass"]),
        HELP: partial(run, [*ifttool, "--help"]),
        COMMAND_HELP: partial(run, [*ifttool, "mask", "--help"]),
        COMPLETION: partial(run, ifttool, extra=asked),
    }
    runs = interleaved(sides, options.pick(full=21, quick=7, tiny=2))
    base = wall(runs[NOTHING])
    result.table(
        "Start-up",
        ["command", "wall, ms", "CPU, ms", "times python"],
        [[name, 1e3 * wall(found), 1e3 * cpu(found), f"{wall(found) / base:.1f}"] for name, found in runs.items()],
        note="Median wall and CPU time of whole processes.",
    )
    for name in (HELP, COMPLETION):
        result.check(f"start-up: {name}", limit=150, measured=1e3 * wall(runs[name]), at_least=False, unit="ms")


if __name__ == "__main__":
    script("startup", __doc__, body)
