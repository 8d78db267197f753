"""Run every script, then say for each target what was measured.

python -m benchmarks [--quick | --tiny] [--repeats N] [--no-peers] [--results DIR] [NAME …]
"""

import subprocess
import sys

from benchmarks.common import checks_table, markdown, parse_options, read_result
from benchmarks.processes import ROOT

SCRIPTS = ("end_to_end", "floor", "rendering", "scaling", "memory", "backends", "startup", "writing", "packing")


def main() -> int:
    names = [name for name in sys.argv[1:] if name in SCRIPTS]
    arguments = [argument for argument in sys.argv[1:] if argument not in SCRIPTS]
    options = parse_options(__doc__, arguments)
    failed, checks = [], []
    for name in names or SCRIPTS:
        print(f"\n## {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
        else:
            checks += read_result(options.results / f"{name}.json")["checks"]
    print(f"\n## Summary\n\n{markdown(checks_table(checks))}")
    if options.size != "full":
        print(f"\nThis was a {options.size} run: start-up weighs more than it does on real data.")
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
