"""Weights, limits and duplicates: what is taken of each input, and that every line is accounted for."""

import functools
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ifttool
from helpers import RunCli, chat, jsonl, read_manifest, read_provenance
from ifttool import pipeline
from ifttool.arranging import survey
from ifttool.arranging.keys import CERTAIN, chance, conversation_key, example_key
from ifttool.arranging.mixture import Weight, expand_mixture, mixture_of, split_weight
from ifttool.arranging.survey import SEEN, Surveyed, resolve_survey
from ifttool.errors import UsageError
from ifttool.records import Conversation
from ifttool.split import read_splits


def write(path: Path, *numbers: int, name: str = "row") -> Path:
    """A file with a conversation for each number; equal numbers and names give equal conversations."""
    path.write_bytes(jsonl(*[chat(f"{name} {n}", f"answer {n}", id=f"{path.stem}-{n}") for n in numbers]))
    return path


# Starting processes takes longer than these inputs; that the number doesn't matter is tested with the order.
mask = functools.partial(ifttool.mask, workers=1)


def ids(folder: Path) -> list[str]:
    return [row["id"] for row in read_provenance(folder)]


# --- the grammar --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("0.5", Weight(Fraction(1, 2))),
        ("1", Weight()),
        ("2", Weight(Fraction(2))),
        ("2.25", Weight(Fraction(9, 4))),
        ("100", Weight(Fraction(100))),
        ("1000rows", Weight(rows=1000)),
    ],
)
def test_weights(text: str, weight: Weight) -> None:
    assert Weight.parse(text) == weight
    assert Weight.parse(str(weight)) == weight


@pytest.mark.parametrize(
    "text", ["0", "0.0", "-1", "half", "", "1e3", "nan", "0rows", "1.5rows", "rows", "101", "1000"]
)
def test_refused_weights(text: str) -> None:
    with pytest.raises(UsageError, match="an input can't"):
        Weight.parse(text)


def test_a_number_of_rows_is_not_taken_for_a_weight() -> None:
    with pytest.raises(UsageError) as raised:
        Weight.parse("1000")
    assert raised.value.hint == "write 1000rows if that many conversations are meant"


def test_weights_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("chat.jsonl", "run:2"):
        write(tmp_path / name, 1)
    assert split_weight("chat.jsonl:0.5") == ("chat.jsonl", "0.5")
    assert split_weight("*.jsonl:10rows") == ("*.jsonl", "10rows")
    assert split_weight("chat.jsonl") == ("chat.jsonl", None)
    assert split_weight("run:2") == ("run:2", None)
    assert split_weight("run:2:3") == ("run:2", "3")
    assert split_weight("none.jsonl:half") == ("none.jsonl:half", None)
    with pytest.raises(UsageError, match=r"chat\.jsonl can't have the weight 'half'"):
        split_weight("chat.jsonl:half")


def test_inputs_of_the_command_line() -> None:
    assert mixture_of(["a"], ["b:0.5", "c"]) == {"a": "1", "b": "0.5", "c": "1"}
    with pytest.raises(UsageError, match="b is given twice"):
        mixture_of(["b"], ["b:0.5"])


def test_files_that_come_twice_are_refused(tmp_path: Path) -> None:
    source = str(write(tmp_path / "a.jsonl", 1))
    with pytest.raises(UsageError, match="is the same input as"):
        expand_mixture({source: 1, str(tmp_path / "*.jsonl"): 0.5})
    assert expand_mixture({source: 1}) == ([source], {})


# --- chances ------------------------------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16), st.integers(), st.lists(st.fractions(0, 100), min_size=2, max_size=2))
def test_what_a_weight_takes_a_larger_one_takes_too(key: bytes, seed: int, weights: list[Fraction]) -> None:
    small, large = sorted(weights)
    copies = Weight(small).copies_of(key, seed)
    assert copies <= Weight(large).copies_of(key, seed)
    assert small - 1 < copies < small + 1


def test_chances_are_uniform_and_independent() -> None:
    keys = [n.to_bytes(16, "big") for n in range(20_000)]
    halves = {
        name: np.array([chance(key, name[0], int(name[1])) < CERTAIN // 2 for key in keys])
        for name in ("a0", "a1", "b0")
    }
    for name, half in halves.items():
        assert abs(half.mean() - 0.5) < 0.02
        for other, second in halves.items():
            if name != other:
                assert abs((half & second).mean() - 0.25) < 0.02


def test_the_key_is_what_a_conversation_says() -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    turned = [{"content": "Hi", "role": "user"}, {"content": "Hello", "role": "assistant"}]
    key = conversation_key(Conversation(said))
    assert key.hex() == "01148487e37a3b8ad5f86e4c4583d24f"
    assert conversation_key(Conversation(turned, id="x", train=(None, False))) == key
    assert conversation_key(Conversation(said, tools=[{"name": "f"}])) != key
    assert conversation_key(Conversation(said[:1])) != key
    assert example_key(Conversation(said, train=(None, None)), key) == key
    assert example_key(Conversation(said, train=(None, False)), key) != key


# --- the survey against brute force -------------------------------------------------------------------

rows_of_splits = st.lists(st.lists(st.integers(0, 6), max_size=12), min_size=1, max_size=4)


def surveyed(folder: Path, splits: list[list[int]], weights: list[Weight]) -> list[Surveyed]:
    """Surveys of splits whose conversations are numbers; 0 to 6 have ranks in some other order."""
    out = []
    for index, numbers in enumerate(splits):
        path = folder / f"{index}.npy"
        np.save(path, np.array([(line, (n * 5) % 7, n, n) for line, n in enumerate(numbers, 1)], SEEN))
        out.append(Surveyed(index, index, weights[index], path))
    return out


def left_out(found: list[Surveyed]) -> list[dict[int, tuple[int, int]]]:
    return [{line: (source, first) for line, source, first in np.load(one.path).tolist()} for one in found]


@settings(max_examples=40)
@given(splits=rows_of_splits, at_once=st.integers(1, 50))
def test_duplicates_as_by_brute_force(
    tmp_path_factory: pytest.TempPathFactory, splits: list[list[int]], at_once: int
) -> None:
    found = surveyed(tmp_path_factory.mktemp("survey"), splits, [Weight()] * len(splits))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "_AT_ONCE", at_once)
        resolve_survey(found, dedup=True)
    first: dict[int, tuple[int, int]] = {}
    expected: list[dict[int, tuple[int, int]]] = [{} for _ in splits]
    for source, numbers in enumerate(splits):
        for line, n in enumerate(numbers, 1):
            if n in first:
                expected[source][line] = first[n]
            first.setdefault(n, (source, line))
    assert left_out(found) == expected


@settings(max_examples=40)
@given(splits=rows_of_splits, limit=st.integers(1, 15), dedup=st.booleans())
def test_limits_as_by_brute_force(
    tmp_path_factory: pytest.TempPathFactory, splits: list[list[int]], limit: int, dedup: bool
) -> None:
    found = surveyed(tmp_path_factory.mktemp("survey"), splits, [Weight(rows=limit)] * len(splits))
    resolve_survey(found, dedup=dedup)
    places = [(n, source, line) for source, numbers in enumerate(splits) for line, n in enumerate(numbers, 1)]
    queue = sorted(places, key=lambda place: (place[0] * 5 % 7, *place[1:]))
    if dedup:
        queue = [place for at, place in enumerate(queue) if at == 0 or place[0] != queue[at - 1][0]]
    taken = {place[1:] for place in queue[:limit]}
    kept = {(source, line) for n, source, line in places if line not in left_out(found)[source]}
    assert kept == taken


# --- runs ---------------------------------------------------------------------------------------------


def check_conservation(folder: Path, rows: int) -> dict[str, Any]:
    """Every line is booked, and the totals of splits, inputs and shards agree."""
    manifest = read_manifest(folder)
    lines = kept = 0
    for ledger in manifest["inputs"].values():
        accounted = (
            ledger["kept"] + ledger["blanks"] + sum(ledger["dropped"].values()) + sum(ledger["rejected"].values())
        )
        assert accounted == ledger["lines"]
        lines, kept = lines + ledger["lines"], kept + ledger["kept"]
    assert lines == rows
    splits = manifest["splits"]
    for name in ("samples", "tokens", "trained_tokens"):
        assert sum(split[name] for split in splits.values()) == manifest[name]
        for split in splits.values():
            assert sum(part[name] for part in split["inputs"].values()) == split[name]
    assert sum(shard["rows"] for shard in manifest["shards"]) == manifest["samples"]
    assert sum(shard["tokens"] for shard in manifest["shards"]) == manifest["tokens"]
    return manifest


def test_weights_of_inputs(tmp_path: Path) -> None:
    half = write(tmp_path / "half.jsonl", *range(400), name="half")
    some = write(tmp_path / "some.jsonl", *range(300), name="some")
    twice = write(tmp_path / "twice.jsonl", *range(20), name="twice")
    whole = write(tmp_path / "whole.jsonl", *range(10), name="whole")
    mixture: dict[str, Any] = {str(half): 0.5, str(some): "50rows", str(twice): 2, str(whole): 1}
    summary = mask(mixture, tmp_path / "out")
    manifest = check_conservation(tmp_path / "out", 730)
    given_by = {Path(name).stem: part["samples"] for name, part in manifest["splits"]["train"]["inputs"].items()}
    assert given_by == {"half": 198, "some": 50, "twice": 40, "whole": 10}
    dropped = {Path(name).stem: ledger["dropped"] for name, ledger in manifest["inputs"].items()}
    assert dropped == {"half": {"IFT407": 202}, "some": {"IFT407": 250}, "twice": {}, "whole": {}}
    assert manifest["options"]["arrangement"]["weights"] == {str(half): "0.5", str(some): "50rows", str(twice): "2"}
    # Nothing is wrong with rows that aren't taken; a list of them would be half of the input.
    assert summary.rejects is None
    sources = [Path(row["source"]).stem for row in read_provenance(tmp_path / "out")]
    assert Counter(sources) == given_by
    own = [name for name in ids(tmp_path / "out") if name.startswith("twice")]
    assert own == [f"twice-{n}" for n in range(20)] * 2


def test_another_seed_takes_others_and_weights_are_nested(tmp_path: Path) -> None:
    source = str(write(tmp_path / "a.jsonl", *range(100)))
    taken = {}
    for name, weight, seed in (("third", 0.3, 0), ("half", 0.5, 0), ("other", 0.5, 1), ("rows", "20rows", 0)):
        mask({source: weight}, tmp_path / name, seed=seed)
        taken[name] = set(ids(tmp_path / name))
    assert taken["third"] < taken["half"]
    assert taken["other"] not in (taken["half"], set(range(100)))
    assert len(taken["rows"]) == 20


def test_what_is_taken_depends_on_the_conversation_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = str(write(tmp_path / "few.jsonl", *range(100)))
    more = str(write(tmp_path / "more.jsonl", *range(150, 50, -1)))
    mask({few: 0.4}, tmp_path / "one")
    monkeypatch.setattr(pipeline, "read_splits", functools.partial(read_splits, split_bytes=1000))
    mask({more: 0.4}, tmp_path / "two")
    one = {int(name.split("-")[1]) for name in ids(tmp_path / "one")}
    two = {int(name.split("-")[1]) for name in ids(tmp_path / "two")}
    assert {n for n in one if n > 50} == {n for n in two if n < 100}


def test_a_limit_holds_for_a_glob_as_a_whole(tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / f"{n}.jsonl", *range(n * 100, n * 100 + 40))
    mask({str(tmp_path / "*.jsonl"): "30rows"}, tmp_path / "out")
    assert len(ids(tmp_path / "out")) == 30
    assert len({name[0] for name in ids(tmp_path / "out")}) == 3
    mask({str(tmp_path / "*.jsonl"): "999rows"}, tmp_path / "all")
    assert len(ids(tmp_path / "all")) == 120


@pytest.mark.parametrize("split_bytes", [300, 1 << 20])
def test_exact_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split_bytes: int) -> None:
    monkeypatch.setattr(pipeline, "read_splits", functools.partial(read_splits, split_bytes=split_bytes))
    numbers = [n * n % 23 for n in range(60)]
    one = write(tmp_path / "one.jsonl", *numbers[:25])
    two = write(tmp_path / "two.jsonl", *numbers[25:], 99)
    two.write_bytes(b"\n" + two.read_bytes() + b"{\n")
    summary = mask([one, two], tmp_path / "out", dedup="exact", max_rejects=1)
    check_conservation(tmp_path / "out", 63)
    first: dict[int, str] = {}
    for line, (path, n) in enumerate([(one, n) for n in numbers[:25]] + [(two, n) for n in [*numbers[25:], 99]]):
        first.setdefault(n, f"{path}:{line + 1 if path == one else line - 25 + 2}")
    assert ids(tmp_path / "out") == [f"{Path(at.rpartition(':')[0]).stem}-{n}" for n, at in first.items()]
    assert summary.tally.total.dropped == {"IFT406": 61 - len(first)}
    assert summary.rejects is not None
    said = [json.loads(line) for line in summary.rejects.read_bytes().splitlines()]
    dropped = [reject for reject in said if reject["kind"] == "dropped"]
    assert len(dropped) == 61 - len(first)
    assert dropped[0]["message"] == f"the same conversation as {first[6]}"


def test_what_is_trained_makes_a_difference(tmp_path: Path) -> None:
    row = chat("Hi", "Hello")
    other = json.loads(json.dumps(row))
    other["messages"][0]["train"] = True
    source = tmp_path / "a.jsonl"
    source.write_bytes(jsonl(row, other, row, other))
    summary = mask(source, tmp_path / "out", dedup="exact")
    assert [row["line"] for row in read_provenance(tmp_path / "out")] == [1, 2]
    assert summary.tally.total.dropped == {"IFT406": 2}


def test_inputs_are_cut_down_before_duplicates_are_dropped(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", *range(50))
    two = write(tmp_path / "two.jsonl", *range(50))
    mask({str(one): "10rows", str(two): 1}, tmp_path / "out", dedup="exact")
    assert Counter(name.split("-")[0] for name in ids(tmp_path / "out")) == {"one": 10, "two": 40}
    assert {name.split("-")[1] for name in ids(tmp_path / "out")} == {str(n) for n in range(50)}


@pytest.mark.parametrize(
    ("inputs", "dedup", "why"), [("-", "exact", "--dedup"), ({"-": "5rows"}, "none", "a limit of rows")]
)
def test_what_must_be_read_twice_can_not_be_a_stream(tmp_path: Path, inputs: Any, dedup: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"{why} reads its inputs twice"):
        mask(inputs, tmp_path / "out", dedup=dedup)
    assert not (tmp_path / "out").exists()


def test_mixture_on_the_command_line(tmp_path: Path, cli: RunCli) -> None:
    whole, half = write(tmp_path / "whole.jsonl", *range(5)), write(tmp_path / "half.jsonl", *range(5, 45))
    result = cli(
        "mask", whole, "--input", f"{half}:10rows", "-o", tmp_path / "out", "--dedup", "exact", "--json", "--workers", 1
    )
    assert result.code == 0
    assert json.loads(result.out)["splits"]["train"]["samples"] == 15
    assert "30 dropped (IFT407 left out by the weight of its input)" in result.err
    refused = cli("unroll", "--input", f"{half}:2", "-o", "-")
    assert (refused.code, refused.out) == (2, "")
    assert "--input is for shards only" in refused.err
