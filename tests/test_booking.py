"""Rows and samples counted shape by shape: the same as one by one."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ifttool.booking import count_rows, count_samples
from ifttool.ledger import Tally
from ifttool.records import Place
from ifttool.samples import Origin
from ifttool.template.turns import Verdict


@dataclass(frozen=True, eq=False)
class Shape:
    """As of a layout: equal to itself alone."""

    roles: tuple[str, ...]
    verdicts: tuple[tuple[Verdict, bool], ...]


@dataclass(frozen=True)
class Sample:
    shape: Shape
    origin: Origin


SHAPES = st.builds(
    Shape,
    st.lists(st.sampled_from(["system", "user", "assistant", "tool", "developer", "narrator"]), max_size=5).map(tuple),
    st.lists(st.tuples(st.sampled_from(Verdict), st.booleans()), max_size=4).map(tuple),
)


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """In input order, of a few shapes that are shared and of some that aren't."""
    shared = draw(st.lists(SHAPES, min_size=1, max_size=3))
    shapes = draw(st.lists(st.sampled_from(shared) | SHAPES, max_size=30))
    files = sorted(draw(st.lists(st.sampled_from("ab"), min_size=len(shapes), max_size=len(shapes))))
    places = [Place(f"{file}.jsonl", line, 0, 1) for line, file in enumerate(files, 1)]
    return [Sample(shape, Origin(place, None, None, 0, "")) for shape, place in zip(shapes, places, strict=True)]


@given(samples(), st.integers(0, 30))
def test_counted_as_one_by_one(all_samples: list[Sample], cut: int) -> None:
    found, expected = Tally(), Tally()
    for sample in all_samples:
        expected.of(sample.origin.place.source).kept += 1
        for role in sample.shape.roles:
            expected.count_messages({role: 1})
        for turn in sample.shape.verdicts:
            expected.count_turns(turn, 1, sample.origin.place)
    # In batches, as a worker does.
    for batch in (all_samples[:cut], all_samples[cut:]):
        count_rows(batch, found)
        count_samples(batch, found)
    assert found == expected
    assert list(found.sources) == list(expected.sources)


@given(samples())
def test_the_first_place_of_each_finding_is_the_earliest(all_samples: list[Sample]) -> None:
    tally = Tally()
    count_samples(all_samples, tally)
    first: dict[str, str] = {}
    for sample in all_samples:
        for verdict, ends in sample.shape.verdicts:
            if verdict.code is not None:
                first.setdefault(verdict.code, str(sample.origin.place))
            if not ends:
                first.setdefault("IFT504", str(sample.origin.place))
    assert tally.examples == first
    assert tally.findings.keys() == first.keys()
