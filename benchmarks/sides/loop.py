"""A loop that reads and writes nothing, shared among processes: how much faster this machine is with several."""

import argparse
import multiprocessing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    given = parser.parse_args()
    context = multiprocessing.get_context("fork")
    share = given.rounds // given.processes
    processes = [context.Process(target=_work, args=(share,)) for _ in range(given.processes)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _work(rounds: int) -> None:
    """Dicts, strings and function calls, as a run has them."""
    for number in range(rounds):
        row = {"role": "user", "content": str(number)}
        "".join([value for value in row.values() if value.startswith("u")])


if __name__ == "__main__":
    main()
