"""Content in parts that a template doesn't print."""

from pathlib import Path
from typing import Any

import pytest

from helpers import RunCli, chat, jsonl
from ifttool.errors import RowError
from ifttool.preparing.lost_parts import refuse_lost_parts


def parts(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]


@pytest.mark.parametrize(
    ("texts", "render"),
    [
        (("Where is it?",), "<u>Where is it?</u>"),
        (("  Where\n",), "<u>Where</u>"),
        (('say "why"\nnow',), r"<u>say \"why\"\nnow</u>"),
        (("a < b and more",), "<u>a &lt; b and more</u>"),
        (("你在哪里",), r"\u4f60\u5728\u54ea\u91cc"),
        (("gone", "here"), "here"),
        (("",), "<u></u>"),
        ((" \n",), "<u></u>"),
        ((), "<u></u>"),
    ],
)
def test_what_is_printed_in_another_way_is_not_lost(texts: tuple[str, ...], render: str) -> None:
    refuse_lost_parts(parts(*texts), render)


@pytest.mark.parametrize("texts", [("Where is it?",), ("你在哪里",), ("one", "two")])
def test_what_is_not_printed_is_lost(texts: tuple[str, ...]) -> None:
    with pytest.raises(RowError, match="given in parts") as caught:
        refuse_lost_parts([*chat("Hi")["messages"], *parts(*texts)], "<u>Hi</u><u></u>")
    assert (caught.value.code, caught.value.path) == ("IFT305", "messages[1].content")


def test_strings_are_the_template_s_business() -> None:
    refuse_lost_parts(chat("Hi", "Yo.")["messages"], "")


@pytest.mark.parametrize(("template", "code"), [("qwen3", 1), ("base", 0)])
def test_a_run_rejects_them(tmp_path: Path, cli: RunCli, template: str, code: int) -> None:
    row = {"messages": [*parts("Where is it?"), {"role": "assistant", "content": "Here."}]}
    (tmp_path / "in.jsonl").write_bytes(jsonl(row, chat("Hi", "Yo.")))
    done = cli("mask", tmp_path / "in.jsonl", "-t", template, "-o", tmp_path / "out")
    assert done.code == code, done.err
    assert ("IFT305 at messages[0].content" in done.err) == bool(code)
