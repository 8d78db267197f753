"""The plan of packs: what best fit decreasing promises, against the plainest way to write it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifttool.packing.planner import Plan, best_fit_decreasing, plan_packs


def rooms_of_reference(lengths: list[int], capacity: int) -> list[int]:
    """Room left in each pack after best fit decreasing, one row at a time; sorted."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=rooms.__getitem__)] -= length
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


def packs_of(plan: Plan) -> list[list[int]]:
    return [plan.rows[start:stop].tolist() for start, stop in pairwise(plan.packs.tolist())]


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    capacity = draw(st.integers(1, 70))
    # Few distinct lengths as well as many: groups that move at once are what could go wrong.
    longest = draw(st.integers(1, capacity))
    return np.array(draw(st.lists(st.integers(1, longest), max_size=80)), np.int32), capacity


@given(problems(), st.integers(0, 9))
def test_packs_are_those_of_best_fit_decreasing(problem: tuple[np.ndarray, int], seed: int) -> None:
    lengths, capacity = problem
    packs = packs_of(plan_packs(lengths, length=capacity, seed=seed))
    assert sorted(capacity - int(lengths[pack].sum()) for pack in packs) == rooms_of_reference(
        lengths.tolist(), capacity
    )


@given(problems(), st.one_of(st.none(), st.integers(1, 30)), st.integers(0, 9))
def test_every_row_is_placed_once_and_no_pack_overflows(
    problem: tuple[np.ndarray, int], window: int | None, seed: int
) -> None:
    lengths, capacity = problem
    plan = plan_packs(lengths, length=capacity, window=window, seed=seed)
    assert sorted(plan.rows.tolist()) == list(range(len(lengths)))
    for pack in packs_of(plan):
        assert pack == sorted(pack)
        assert 0 < lengths[pack].sum() <= capacity
        assert window is None or len({row // window for row in pack}) == 1
    again = plan_packs(lengths, length=capacity, window=window, seed=seed)
    assert (again.rows.tolist(), again.packs.tolist()) == (plan.rows.tolist(), plan.packs.tolist())


@given(problems())
def test_two_packs_never_fit_into_one(problem: tuple[np.ndarray, int]) -> None:
    lengths, capacity = problem
    used = sorted(int(lengths[pack].sum()) for pack in packs_of(plan_packs(lengths, length=capacity)))
    assert len(used) < 2 or used[0] + used[1] > capacity


def test_rows_that_fit_nowhere_are_not_placed() -> None:
    plan = plan_packs(np.array([5, 0, 11, 10, -1, 5]), length=10)
    assert sorted(packs_of(plan)) == [[0, 5], [3]]


def test_nothing_gives_no_packs() -> None:
    for lengths in ([], [0], [9]):
        plan = plan_packs(np.array(lengths, np.int32), length=8)
        assert (len(plan), plan.rows.tolist(), plan.packs.tolist()) == (0, [], [0])
    assert best_fit_decreasing(np.zeros(0, np.int32), 8).tolist() == []


def test_windows_keep_their_order() -> None:
    rows = plan_packs(np.full(100, 3), length=10, window=10).rows
    assert (rows // 10).tolist() == sorted((rows // 10).tolist())


def test_seed_moves_rows_and_packs_but_not_their_number() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 500)
    plans = [plan_packs(lengths, length=100, seed=seed) for seed in range(4)]
    assert len({len(plan) for plan in plans}) == 1
    assert len({tuple(plan.rows.tolist()) for plan in plans}) == 4
    sizes = [int(lengths[pack].max()) for pack in packs_of(plans[0])]
    assert sizes != sorted(sizes, reverse=True), "packs come in the order in which best fit makes them"


def test_plans_are_the_same_everywhere() -> None:
    # Written down, not computed: a change here changes every packed data set.
    assert packs_of(plan_packs(np.array([4, 3, 3, 2, 2, 2, 1, 1, 1]), length=7, seed=1)) == [
        [0, 2],
        [3, 6, 7, 8],
        [1, 4, 5],
    ]


def test_hundreds_of_thousands_of_rows() -> None:
    lengths = np.minimum(np.random.default_rng(1).lognormal(6, 1, 300_000).astype(np.int64) + 1, 8192)
    plan = plan_packs(lengths, length=8192)
    used = np.add.reduceat(lengths[plan.rows], plan.packs[:-1])
    assert used.max() <= 8192
    assert np.array_equal(np.sort(plan.rows), np.arange(300_000))
    assert used.sum() / (len(plan) * 8192) > 0.999


@pytest.mark.parametrize("capacity", [1, 2, 64, 65, 100_000])
def test_rows_as_long_as_packs(capacity: int) -> None:
    assert best_fit_decreasing(np.full(3, capacity), capacity).tolist() == [0, 1, 2]
