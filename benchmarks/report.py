"""Put what was measured into docs/performance.md, between its markers.

python -m benchmarks.report [--check]
"""

import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.__main__ import SCRIPTS
from benchmarks.common import RESULTS, checks_table, markdown, read_result
from benchmarks.processes import ROOT

PAGE = ROOT / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NOTHING = "Not measured yet: `make bench`."


def filled(text: str, results: Path = RESULTS) -> str:
    """The page with every block written anew from the results.

    Raises:
        ValueError: A block names no script.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_block(found[2], results)}\n\n{found[3]}", text)


def _block(name: str, results: Path) -> str:
    if name == "targets":
        return _targets(results)
    if name not in SCRIPTS:
        raise ValueError(f"no script {name}")
    path = results / f"{name}.json"
    if not path.exists():
        return _NOTHING
    found = read_result(path)
    return "\n\n".join([*map(markdown, found["tables"]), _about(found)])


def _targets(results: Path) -> str:
    """Every target of every script that was run."""
    paths = [results / f"{name}.json" for name in SCRIPTS]
    checks = [check for path in paths if path.exists() for check in read_result(path)["checks"]]
    return markdown(checks_table(checks)) if checks else _NOTHING


def _about(found: dict[str, Any]) -> str:
    """When and on what it was measured."""
    machine, versions = found["machine"], found["versions"]
    load = f"load {machine['load_before']} before and {machine['load_after']} after"
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    kept = "" if found["size"] == "full" else f" A {found['size']} run."
    return (
        f"*{found['when'][:10]}, {machine['cores']} cores of {machine['cpu']}, {load}, Python {machine['python']}; "
        f"{packages}.{kept}*"
    )


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    new = filled(text)
    if "--check" in sys.argv[1:]:
        return 0 if new == text else 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
