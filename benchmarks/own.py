"""``ifttool mask`` as one of the sides."""

import sys
import uuid
from pathlib import Path

from benchmarks.common import Options, module
from benchmarks.data import Dataset, own_template, tokenizer
from benchmarks.processes import Run, run


def mask(
    rows: Dataset,
    folder: Path,
    options: Options,
    *,
    workers: int,
    backend: str = "auto",
    sample_every: float | None = None,
    on_one_core: bool = False,
) -> Run:
    """Make shards of a data set in a new place below ``folder``, with Qwen3's template."""
    output = folder / uuid.uuid4().hex
    command = [
        *module("ifttool", "mask", rows.path, "-o", output, "--tokenizer", tokenizer(options)),
        *own_template(options),
        *("--workers", workers, "--backend", backend, "--date", "2026-01-15", "--quiet", "--allow-text-markers"),
    ]
    return run(command, sample_every=sample_every, on_one_core=on_one_core)


def console_script() -> list[str]:
    """``ifttool`` as the shell finds it, or as a module where it isn't installed."""
    path = Path(sys.executable).parent / "ifttool"
    return [str(path)] if path.exists() else [sys.executable, "-m", "ifttool"]
