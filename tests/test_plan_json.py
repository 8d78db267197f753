"""JSON in plans is that of ``json.dumps``, made without its detours."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifttool.template import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OPTIONS = st.tuples(
    st.booleans(),
    st.sampled_from((None, 0, 2, "\t")),
    st.sampled_from((None, (",", ":"), (", ", ": "), ("、", "："))),
    st.booleans(),
)


@given(VALUES, OPTIONS)
def test_json_is_that_of_json_dumps(value: Any, options: tuple[Any, ...]) -> None:
    ascii_only, indent, separators, sort_keys = options
    expected = json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators, sort_keys=sort_keys)
    assert json_text.json_text(value, options) == expected


def test_json_needs_no_c_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "c_make_encoder", None)
    monkeypatch.setattr(json_text, "_ENCODERS", {})
    assert json_text.json_text({"塔": [1.5, None, "é"]}, (False, None, None, False)) == '{"塔": [1.5, null, "é"]}'
