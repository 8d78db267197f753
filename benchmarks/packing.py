"""How full and how fast packs are made: ifttool against TRL's and Megatron-Bridge's packers, on the same lengths.

    python -m benchmarks.packing [--quick]

Megatron-Bridge is measured where ``IFTTOOL_READERS`` names a folder that holds it, as ``make conformance`` fills one:
its packing module is loaded alone, without the accelerator libraries that the package wants.
"""

import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

import ifttool
from benchmarks import data, own
from benchmarks.common import WORKERS, Options, Result, has, scratch, script
from ifttool.io.shard_lengths import read_lengths
from ifttool.packing.planner import plan_packs

Lengths = np.ndarray[Any, np.dtype[np.int64]]
Packer = Callable[[Lengths, int], int]
"""Lengths and the length of a pack → the number of packs."""


@dataclass(frozen=True, slots=True)
class Case:
    """Lengths to be packed. None is longer than a pack: TRL would cut it, the others would leave it out."""

    name: str
    lengths: Lengths
    pack: int

    def fill(self, packs: int) -> float:
        return float(self.lengths.sum() / (packs * self.pack))


def ours(lengths: Lengths, pack: int) -> int:
    return len(plan_packs(lengths, length=pack))


def trl_packer(batch: int) -> Packer:
    """TRL's public function. Its rows carry one byte a token, so that next to nothing but packing is measured."""
    import datasets  # noqa: PLC0415
    from trl import pack_dataset  # noqa: PLC0415

    datasets.disable_progress_bars()
    datasets.disable_caching()

    def packs(lengths: Lengths, pack: int) -> int:
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
        ids = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(lengths.sum(), np.int8)))
        rows = datasets.Dataset(pa.table({"input_ids": ids}))
        return len(pack_dataset(rows, pack, "bfd", {"batch_size": batch, "keep_in_memory": True}))

    return packs


def bridge_packer(algorithm: str) -> Packer | None:
    """Megatron-Bridge's own function, from a histogram of lengths as it takes them; None where it isn't at hand."""
    module = bridge_algorithms()
    if module is None:
        return None

    def packs(lengths: Lengths, pack: int) -> int:
        np.random.seed(0)  # what its shuffle uses
        histogram = np.bincount(lengths, minlength=pack + 1).tolist()
        return len(module.create_packing_strategy(histogram, pack, algorithm)[0])

    return packs


def bridge_algorithms() -> ModuleType | None:
    path = Path(os.environ.get("IFTTOOL_READERS", "")) / "megatron/bridge/data/packing/algorithms.py"
    if not path.is_file() or not has("tqdm"):
        return None
    # All it takes from the rest of the package is a function that reads .npy files.
    stub: Any = ModuleType("megatron.bridge.utils.safe_pickle")
    stub.safe_load_npy = None
    spec = importlib.util.spec_from_file_location("bridge_packing_algorithms", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[stub.__name__] = stub
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[stub.__name__]
    return module


def packers(options: Options) -> dict[str, Packer]:
    """Every side that is at hand; ours comes first."""
    found: dict[str, Packer] = {"ifttool": ours}
    if options.peers and has("trl", "datasets", "torch"):
        found["TRL bfd, whole set"] = trl_packer(-1)
        found["TRL bfd, its batches of 1000"] = trl_packer(1000)
    for name in ("first_fit_decreasing", "first_fit_shuffle"):
        packer = bridge_packer(name) if options.peers else None
        if packer is None:
            print("  Megatron-Bridge isn't at hand: left out", file=sys.stderr)
        else:
            found[f"Megatron-Bridge {name}"] = packer
    return found


def cases(real: Lengths, options: Options) -> Iterator[Case]:
    for pack in (4096, 16_384):
        yield Case(f"{len(real):,} chats, {pack}", real[real <= pack], pack)
    counts = {"full": (10_000, 100_000, 1_000_000), "quick": (10_000, 100_000), "tiny": (1000,)}[options.size]
    for count in counts:
        lengths = np.random.default_rng(count).lognormal(6, 1, count).astype(np.int64) + 1
        yield Case(f"{count:,} log-normal, 8192", np.minimum(lengths, 8192), 8192)


def measure(case: Case, sides: dict[str, Packer], options: Options) -> dict[str, tuple[int, float]]:
    """Packs and median seconds of every side, one round after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    packs: dict[str, int] = {}
    for _ in range(options.repeats):
        for name, packer in sides.items():
            start = time.perf_counter()
            packs[name] = packer(case.lengths, case.pack)
            seconds[name].append(time.perf_counter() - start)
    return {name: (packs[name], statistics.median(seconds[name])) for name in sides}


def plans(real: Lengths, options: Options, result: Result) -> None:
    sides = packers(options)
    rows = []
    for case in cases(real, options):
        found = measure(case, sides, options)
        packs, seconds = found["ifttool"]
        for name, (theirs, slower) in found.items():
            rows.append([f"{case.name}: {name}", theirs, f"{case.fill(theirs):.3%}", slower, f"{slower / seconds:.1f}"])
            if name != "ifttool":
                result.check(
                    f"packing: {case.name}: packs of {name} for each of ours", limit=1, measured=theirs / packs
                )
                result.check(f"packing: {case.name}: time of {name}, times ours", limit=1, measured=slower / seconds)
    result.table(
        "Packing lengths",
        ["rows, length of a pack: packer", "packs", "fill", "seconds", "times ours"],
        rows,
        note="Planning alone. TRL's public function moves the rows too; they are one byte a token here. "
        f"Chats: {data.origin(options)}.",
    )


def files(folder: Path, rows: int, options: Options, result: Result) -> None:
    """Shards to packed Parquet on disk. Each side first runs once unmeasured: both import on first use."""
    if not (options.peers and has("trl", "datasets", "torch")):
        return
    import datasets  # noqa: PLC0415
    from trl import pack_dataset  # noqa: PLC0415

    shards = sorted(str(path) for path in folder.glob("data/*.parquet"))

    def trl(place: Path, shards: list[str]) -> None:
        found = datasets.load_dataset("parquet", data_files=shards, split="train", cache_dir=str(place / "cache"))
        found = found.select_columns(["input_ids", "labels"])
        packed = pack_dataset(found, 8192, "bfd", {"batch_size": -1})
        packed.to_parquet(place / "packed.parquet")

    def own_pack(place: Path, shards: list[str]) -> None:
        ifttool.pack(shards, place / "packed", length=8192, layout="trl")

    sides = {"ifttool": own_pack, "TRL bfd, whole set": trl}
    for side in sides.values():
        with scratch() as place:
            side(place, shards[:1])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            with scratch() as place:
                start = time.perf_counter()
                side(place, shards)
                seconds[name].append(time.perf_counter() - start)
    found = {name: statistics.median(times) for name, times in seconds.items()}
    result.table(
        "Shards to packed files",
        ["side", "seconds", "rows a second", "times ours"],
        [[name, time_, rows / time_, f"{time_ / found['ifttool']:.1f}"] for name, time_ in found.items()],
        note="Both read Parquet and write input_ids, labels and seq_lengths in packs of 8192, in one process. "
        "Ours also writes digests, provenance, tokenizer and manifest, and syncs its files; TRL's side doesn't.",
    )
    result.check(
        "packing: files: time of TRL, times ours", limit=1, measured=found["TRL bfd, whole set"] / found["ifttool"]
    )


def body(options: Options, result: Result) -> None:
    chats = data.subset(data.dataset("mixed", options), megabytes=options.pick(full=200, quick=20, tiny=1))
    with scratch() as place:
        own.mask(chats, place, options, workers=WORKERS)
        folder = next(path.parent for path in place.rglob("manifest.json"))
        lengths = np.concatenate(
            [batch.tokens for path in sorted(folder.glob("data/*.parquet")) for batch in read_lengths(path)]
        )
        plans(lengths, options, result)
        files(folder, len(lengths), options, result)


if __name__ == "__main__":
    script("packing", __doc__, body)
