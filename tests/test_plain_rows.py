"""Rows of plain chats take a short way: what it reads must be what the general way reads."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifttool.errors import RowError
from ifttool.formats import to_conversation
from ifttool.formats.messages import from_messages, read_plain
from ifttool.split import read_splits

_VALUES = st.one_of(st.text(max_size=3), st.none(), st.booleans(), st.integers(0, 1), st.just([]))
_MESSAGES = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(("user", "assistant", "")), "content": st.text(max_size=3)}),
    st.dictionaries(st.sampled_from(("role", "content", "train", "name")), _VALUES, max_size=3),
    st.just(["role", "content"]),
    st.text(max_size=3),
)
_ROWS = st.builds(
    lambda messages, more: {"messages": messages, **more},
    st.one_of(st.lists(_MESSAGES, max_size=4), st.none()),
    st.dictionaries(st.sampled_from(("id", "tools", "functions", "label", "chosen", "source")), _VALUES, max_size=2),
)


@given(_ROWS)
def test_plain_rows_are_read_as_by_the_general_way(row: dict[str, Any]) -> None:
    plain = read_plain(row)
    if plain is None:
        return
    general = from_messages(row, "object")
    assert (plain.messages, plain.tools, plain.train, plain.id) == (general.messages, None, (), general.id)
    assert plain.roles == tuple(message["role"] for message in plain.messages)


def test_the_short_way_is_taken() -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], "source": "x"}
    assert to_conversation(row).roles == ("user", "assistant")


@pytest.mark.parametrize(
    "message", [{"content": "a", "role": "user"}, {"role": "", "content": "a"}, {"role": "user", "content": None}]
)
def test_other_messages_go_the_general_way(message: dict[str, Any]) -> None:
    row = {"messages": [message, {"role": "assistant", "content": "b"}]}
    assert read_plain(row) is None
    try:
        assert to_conversation(row).roles is None
    except RowError as error:
        assert error.code == "IFT202"


@pytest.mark.parametrize(
    ("lines", "number"), [(500, 1), (501, 2), (1000, 2), (1001, 4), (2000, 4), (2001, 8), (4000, 8)]
)
def test_splits_are_alike_and_come_by_fours(tmp_path: Path, lines: int, number: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"1\n" * lines)
    sizes = [split.size for split in read_splits([str(path)], split_bytes=1000)]
    assert len(sizes) == number
    assert sum(sizes) == 2 * lines
    # A split ends with the line that reaches its size.
    assert max(sizes) <= min(1000, 2 * lines / number + 2)
    assert min(sizes) >= 2 * lines / number - 2 * number
