"""How time grows with rows, with turns, and with workers.

python -m benchmarks.scaling [--quick]
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import data, own
from benchmarks.common import WORKERS, Options, Result, cpu, interleaved, module, scratch, script, wall
from benchmarks.data import Dataset
from benchmarks.processes import Run, run

TURNS = (2, 10, 50, 200)
AGENT_TURNS = (10, 50, 100, 200)
# As much more of conversations of one length.
_MORE = 3
LOOP = "a loop that shares nothing"


def _work(runs: Mapping[str, list[Run]], name: str) -> float:
    """CPU seconds less those of a run over two rows; never nothing, since it is divided by."""
    return max(1e-3, cpu(runs[name]) - cpu(runs["start"]))


def _runs(sets: Mapping[str, Dataset], folder: Path, options: Options) -> dict[str, list[Run]]:
    """One process on each data set, and on two rows of the first."""
    first = next(iter(sets.values()))
    sides: dict[str, Callable[[], Run]] = {
        name: partial(own.mask, rows, folder, options, workers=1)
        for name, rows in {"start": data.first_rows(first, folder, count=2), **sets}.items()
    }
    return interleaved(sides, options.repeats)


def rows_table(options: Options, result: Result) -> None:
    """x1, x2 and x4 the data."""
    whole = data.subset(data.dataset("english", options), megabytes=options.pick(full=40, quick=5, tiny=1))
    with scratch() as folder:
        sets = {f"x{times}": data.repeated(whole, folder, times=times) for times in (1, 2, 4)}
        runs = _runs(sets, folder, options)
    rows = [
        [name, whole.megabytes * int(name[1:]), cpu(runs[name]), f"{_work(runs, name) / _work(runs, 'x1'):.2f}"]
        for name in sets
    ]
    result.table(
        "Rows: the same data once, twice and four times",
        ["data", "MB", "CPU s", "work, times x1"],
        rows,
        note="One process. Work is CPU time less that of a run over two rows.",
    )
    growth = _work(runs, "x4") / _work(runs, "x1")
    result.check("four times the rows: times the work", limit=4.4, measured=growth, at_least=False)


def turns_table(options: Options, result: Result, *, agents: bool) -> None:
    """The same number of messages in short and in long conversations, and three times as many."""
    total = options.pick(full=40_000 if agents else 200_000, quick=4_000 if agents else 20_000, tiny=60)
    lengths = (10, 20) if options.size == "tiny" else AGENT_TURNS if agents else TURNS
    sets = {
        f"{turns} x{times}": data.of_turns(turns, times * total, agents=agents, options=options)
        for turns in lengths
        for times in (1, _MORE)
    }
    with scratch() as folder:
        runs = _runs(sets, folder, options)
    rows, costs = [], {}
    for turns in lengths:
        few, many = f"{turns} x1", f"{turns} x{_MORE}"
        # By bytes: rows of agents bring their tools along, which weighs more in short ones. The difference of the two
        # leaves out what is learnt of a template once: with 200 rows that is as much as the work on them.
        size = sets[many].megabytes - sets[few].megabytes
        costs[turns] = 1e3 * max(1e-3, cpu(runs[many]) - cpu(runs[few])) / max(size, 1e-6)
        numbers = [total // turns, sets[few].megabytes, cpu(runs[few]), cpu(runs[many])]
        rows.append([turns, *numbers, costs[turns]])
    title = "agent trajectories, each of its own shape" if agents else "plain chats"
    result.table(
        f"Turns: {title}, {total:,} messages in each data set, and {_MORE} times as many",
        ["messages a row", "rows", "MB", "CPU s", f"CPU s, x{_MORE}", "ms a MB more"],
        rows,
        note="One process. The last column is what each further MB costs: it stays level if time is linear in the "
        "number of turns.",
    )
    longest = max(lengths)
    kind = "agents" if agents else "chats"
    result.check(
        f"{kind}: cost of a MB more in rows of {longest} messages, times that in shorter ones",
        limit=1.25,
        measured=costs[longest] / min(cost for turns, cost in costs.items() if turns < longest),
        at_least=False,
    )


def _loop(options: Options, *, processes: int) -> Run:
    """Work without files, memory or locks: no program gains more from a second core of this machine."""
    rounds = options.pick(full=16_000_000, quick=2_000_000, tiny=10_000)
    return run(module("benchmarks.sides.loop", "--rounds", rounds, "--processes", processes))


def workers_table(options: Options, result: Result) -> None:
    """One process against two, wall time."""
    runs = interleaved(
        {str(count): partial(_loop, options, processes=count) for count in (1, WORKERS)}, options.repeats
    )
    one, several = (wall(runs[str(count)]) for count in (1, WORKERS))
    rows: list[Sequence[object]] = [[LOOP, "", "", one, several, f"{one / several:.2f}", f"{one / several:.2f}"]]
    for kind in data.kinds(options):
        whole = data.for_runs(kind, options)
        with scratch() as folder:
            sets = {kind: whole, f"{kind}, large": data.large(kind, folder, options).rows}
            sides: dict[str, Callable[[], Run]] = {}
            for name, some in sets.items():
                mask = partial(own.mask, some, folder, options)
                sides[f"{name}, one core"] = partial(mask, workers=1, on_one_core=True)
                sides[f"{name}, 1"] = partial(mask, workers=1)
                sides[f"{name}, {WORKERS}"] = partial(mask, workers=WORKERS)
            runs = interleaved(sides, options.repeats)
            sizes = {name: some.megabytes for name, some in sets.items()}
        for name, size in sizes.items():
            core, one, several = (wall(runs[f"{name}, {how}"]) for how in ("one core", 1, WORKERS))
            rows.append([name, size, core, one, several, f"{core / several:.2f}", f"{one / several:.2f}"])
            result.check(f"{name}: {WORKERS} workers, times as fast as one", limit=1.7, measured=one / several)
            on_cores = f"{name}: {WORKERS} workers on as many cores, times as fast as one on one"
            result.check(on_cores, limit=1.7, measured=core / several)
    result.table(
        "Workers: process start to finish",
        ["data", "MB", "1 on one core, s", "1, s", f"{WORKERS}, s", "cores: times as fast", "workers: times as fast"],
        rows,
        note=f"Data: {data.origin(options)}, as it is and as much as a training set. Wall time, so it needs as many "
        "idle cores as workers. One process loads the tokenizer, however many there are. One worker encodes, "
        "compresses and hashes in threads, so it uses more than one core. The first row is what this machine's second "
        "core is worth to processes that share nothing.",
    )


def body(options: Options, result: Result) -> None:
    rows_table(options, result)
    if options.size != "tiny":
        turns_table(options, result, agents=False)
    turns_table(options, result, agents=True)
    workers_table(options, result)


if __name__ == "__main__":
    script("scaling", __doc__, body)
