"""What is changed in a ``tokenizer.json`` before its fast encoder is loaded."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ifttool.tokenizer.fast_load import _changed, _spaced
from ifttool.tokenizer.locate import locate_tokenizer

# Characters that JSON escapes, and those that its lists are made of.
TOKENS = st.text(st.sampled_from('ab\\"[],: \u0120\n\x01/u0') | st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=6), st.booleans())
@example([(",", "],[")], False)
@example([('"', "\\"), ("\\\\", '\\"')], False)
@example([("\\u0020", "a")], False)
@example([("", ""), ("", "a")], True)
def test_merges_are_the_same_as_strings(pairs: Sequence[tuple[str, str]], ascii_only: bool) -> None:
    spaced = _spaced(json.dumps(pairs, ensure_ascii=ascii_only, separators=(",", ":")).encode())
    if spaced is None:
        assert any(" " in token or "\\u0020" in token for pair in pairs for token in pair)
    else:
        assert json.loads(spaced) == [" ".join(pair) for pair in pairs]
        assert not any(" " in token for pair in pairs for token in pair)


OTHER_FORMS = [
    '["a b","c d"]', '["a"]', '[["a"]]', '[["a","b","c"]]', '[["a","b"],["c"]]', '[["a"],["b"]]', '[["a"],["b","c","d"]]',
    '[["a","b"],["c"],["d","e","f"]]', '[["a","b"],"c d"]', '[["a",["b"]]]', '[["\\u0020","b"]]', '[["a b","c"]]',
    '[[1,2],[3,4]]', '{"a":"b"}', "[]", "null", "",
]  # fmt: skip


@pytest.mark.parametrize("merges", OTHER_FORMS)
def test_merges_of_other_forms_stay(merges: str) -> None:
    assert _spaced(merges.encode()) is None


def test_nothing_else_is_changed() -> None:
    of_pairs = json.loads(locate_tokenizer("default").read_bytes())
    of_pairs["added_tokens"].append({**of_pairs["added_tokens"][-1], "id": 60_000, "content": 'a  " \\\t: {'})
    model = of_pairs["model"]
    of_strings = {**of_pairs, "model": {**model, "merges": [" ".join(pair) for pair in model["merges"]]}}
    expected = {**of_strings, "truncation": None, "padding": None, "post_processor": None}
    for spec in (of_pairs, of_strings):
        assert json.loads(_changed(json.dumps(spec, indent=3).encode())) == expected
