"""``ifttool show``: pictures exact to the token, reasons, selection, comparisons, and no way out for data."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ifttool.cli.app import app
from ifttool.encode import Encoder
from ifttool.errors import UsageError
from ifttool.ledger import Tally
from ifttool.pipeline import run_shards
from ifttool.preparing.preparer import Preparer
from ifttool.recipe import Recipe
from ifttool.records import Place, RawRow
from ifttool.resolve import resolve_recipe
from ifttool.samples import Origin
from ifttool.show import Explanation, Refusal, Token, compare, explain
from ifttool.show.differing import DiffCounts
from ifttool.show.explaining import FIRST_TOKEN, STRADDLES
from ifttool.show.finished import NO_MASK, shard_samples
from ifttool.show.render import Style, counts_text, difference_text, escaped, item_text, picture
from ifttool.show.rows import Choice, RowExplainer, differences, explained
from ifttool.show.settings import changed_options
from ifttool.target import Target
from ifttool.tolerance import Tolerance
from ifttool.worker import Worker

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
PLAIN, ASCII, COLOUR = Style(), Style(ascii_only=True), Style(colour=True)


def recipe(template: str = "chatml", **options: Any) -> Recipe:
    return resolve_recipe(template=template, date="2026-01-31", **options)


def chat(*texts: str, **row: Any) -> dict[str, Any]:
    """A conversation of alternating user and assistant messages."""
    roles = ("user", "assistant")
    return {**row, "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}


def raw(row: dict[str, Any], line: int = 1) -> RawRow:
    data = json.dumps(row).encode()
    return RawRow(Place("a.jsonl", line, 0, len(data)), data)


_EXPLAINERS: dict[str, RowExplainer] = {}


def items(row: dict[str, Any], options: Recipe) -> list[Explanation | Refusal]:
    key = json.dumps(options.as_json())
    if key not in _EXPLAINERS:
        _EXPLAINERS[key] = RowExplainer(options)
    return list(_EXPLAINERS[key].explain(raw(row), Choice()))


def sample(row: dict[str, Any], options: Recipe) -> Explanation:
    (item,) = items(row, options)
    assert isinstance(item, Explanation)
    return item


def reasons(explanation: Explanation) -> list[tuple[str, bool, str]]:
    return [(explanation.text[s.start : s.stop], s.trained, s.reason) for s in explanation.spans]


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    rows = [
        json.dumps(chat("Hi", "Yo.", id="short")),
        "",
        json.dumps(chat("One?", "Two.", "Three?", "Four.", id="long")),
        "{not json",
        json.dumps(chat("Nobody answers.", id="open")),
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["show", *map(str, args)])
    return result.exit_code, result.stdout


# The picture


def test_picture_and_table_of_a_small_conversation() -> None:
    assert item_text(sample(chat("Hi", "Yo.", id="x"), recipe()), PLAIN) == (
        "a.jsonl:1: id x, 19 tokens, 4 trained (21.1%), verdict exact\n"
        "| <|im_start|>user↵\n"
        "| Hi<|im_end|>↵\n"
        "| <|im_start|>assistant↵\n"
        "| «Yo.<|im_end|>»↵\n"
        "\n"
        "chars  tokens  message      kind         trained  why                                      text\n"
        " 0-12       1  -            scaffold     no       prompt: template text before message 0   "
        '"<|im_start|>"\n'
        '12-16       2  0 user       header       no       prompt: message 0 (user)                 "user"\n'
        '16-17       1  -            scaffold     no       prompt: template text in message 0       "↵"\n'
        '17-19       2  0 user       content      no       prompt: message 0 (user)                 "Hi"\n'
        "19-42       3  -            scaffold     no       generation prompt of turn 1 (assistant)  "
        '"<|im_end|>↵<|im_start|>"\n'
        '42-51       4  1 assistant  header       no       generation prompt of turn 1 (assistant)  "assistant"\n'
        '51-52       1  -            scaffold     no       generation prompt of turn 1 (assistant)  "↵"\n'
        '52-55       3  1 assistant  content      yes      completion of turn 1 (assistant)         "Yo."\n'
        '55-65       1  1 assistant  end_of_turn  yes      end-of-turn token of turn 1 (assistant)  "<|im_end|>"\n'
        '65-66       1  -            scaffold     no       white space after the end-of-turn token  "↵"\n'
    )


def test_ids_are_listed_on_demand() -> None:
    found = sample(chat("Hi", "Yo."), recipe())
    table = item_text(found, PLAIN, spans=False, ids=True).split("\n\n")[1].splitlines()
    assert table[0].split() == ["token", "id", "chars", "trained", "text"]
    assert len(table) == 1 + len(found.tokens)
    assert table[-2].split() == ["17", str(found.tokens[17].id), "55-65", "yes", '"<|im_end|>"']
    assert table[-1].split() == ["18", str(found.tokens[18].id), "65-66", "no", '"↵"']


def test_colour_paints_each_line_and_needs_no_marks() -> None:
    assert picture([("a «b\n", False), ("c\nd", True), ("", True)], COLOUR) == [
        "| \x1b[2ma «b↵\x1b[0m",
        "| \x1b[32;4mc↵\x1b[0m",
        "| \x1b[32;4md\x1b[0m",
    ]


def test_a_mark_that_closes_at_a_line_end_stands_before_the_break() -> None:
    assert picture([("a", True), ("b\n\n", False), ("c\n", True), ("", True), ("d", False)], PLAIN) == [
        "| «a»b↵",
        "| ↵",
        "| «c↵»",
        "| «»d",
    ]


def test_other_marks_where_the_terminal_has_ascii_only() -> None:
    assert picture([("é{\n", True), ("\\n🙂«", False)], ASCII) == ["| {\\xe9\\{\\n}", "| \\\\n\\U0001f642\\xab"]


HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\r\x08\u202e\u200b\x00\x7f«fake» ↵ \\"


@pytest.mark.parametrize("style", [PLAIN, ASCII, COLOUR])
def test_data_can_neither_drive_the_terminal_nor_forge_marks(style: Style) -> None:
    row = chat(HOSTILE, f"{HOSTILE}\nb.jsonl:1: 9 tokens", id=HOSTILE)
    text = item_text(sample(row, recipe()), style, ids=True)
    unpainted = re.sub(r"\x1b\[(?:32;4|2|0)m", "", text) if style.colour else text
    assert all(char.isprintable() or char == "\n" for char in unpainted)
    assert all(char in " -~" or " " <= char <= "~" or char == "\n" or style != ASCII for char in unpainted)
    assert not [line for line in unpainted.splitlines() if line.startswith("b.jsonl")]
    shown = escaped(HOSTILE, PLAIN)
    assert shown == (r"\x1b]0;pwned\x07\x1b[2J\x9b31m\x0d\x08\u202e\u200b\x00\x7f\«fake\» \↵ " + "\\\\")
    if style == PLAIN:
        assert f"id {shown}," in text
        assert text.count("«") - text.count("\\«") == 1


def read_back(lines: list[str], style: Style) -> list[tuple[str, bool]]:
    """What a picture says: its stretches, with neighbours of one fate joined."""
    text = "".join(line.removeprefix("| ") for line in lines)
    opening, closing = style.marks
    token = re.compile(
        r"\\x(?P<x>[0-9a-f]{2})|\\u(?P<u>[0-9a-f]{4})|\\U(?P<U>[0-9a-f]{8})"
        rf"|(?P<newline>{re.escape(style.newline)})|\\(?P<own>.)|(?P<open>{re.escape(opening)})"
        rf"|(?P<close>{re.escape(closing)})|(?P<plain>.)"
    )
    stretches: list[tuple[str, bool]] = []
    current, trained = "", False
    for match in token.finditer(text):
        if match.lastgroup in ("open", "close"):
            stretches.append((current, trained))
            current, trained = "", match.lastgroup == "open"
        elif match.lastgroup in ("x", "u", "U"):
            current += chr(int(match[match.lastgroup], 16))
        else:
            current += "\n" if match["newline"] else match["own"] or match["plain"]
    return [part for part in [*stretches, (current, trained)] if part[0]]


@given(
    st.lists(st.text("ab«»↵{}\\n\n\x1b\u202e🙂é \r", min_size=1, max_size=6), max_size=6),
    st.sampled_from([PLAIN, ASCII]),
)
def test_a_picture_is_never_ambiguous(texts: list[str], style: Style) -> None:
    stretches = [(text, index % 2 == 1) for index, text in enumerate(texts)]
    assert read_back(picture(stretches, style), style) == stretches


def token(start: int, stop: int, trained: bool) -> Token:
    return Token(7, start, stop, trained, "")


def test_stretches_follow_tokens_not_characters() -> None:
    origin = Origin(Place("a", 1, 0, 0), None, None, 0, "none")
    shared = Explanation(origin, "é!", (token(0, 1, False), token(0, 1, True), token(1, 2, True)))
    assert shared.stretches() == [("é", False), ("!", True)]
    hidden = Explanation(origin, "é!", (token(0, 1, False), token(0, 1, True), token(1, 2, False)))
    assert hidden.stretches() == [("é", False), ("", True), ("!", False)]
    gaps = Explanation(origin, "a b c ", (token(0, 1, True), token(2, 3, True), token(4, 5, False)))
    assert gaps.stretches() == [("a b", True), (" c ", False)]
    assert Explanation(origin, "", ()).stretches() == []


RECIPES: list[dict[str, Any]] = [
    {},
    {"template": "qwen3"},
    {"template": "mistral", "boundary": "split"},
    {"train_on": "final-turn"},
    {"train_on": "all-tokens"},
    {"train_on": "user,assistant"},
    {"template": "qwen3", "unroll": "always"},
    {"template": "qwen3", "train_reasoning": False, "train_end_of_turn": False},
    {"template": "qwen3", "on_mismatch": "mask"},
    {"max_length": 40, "overflow": "truncate"},
    {"turn_tokens": (5, 60)},
    {"content_specials": "allow"},
]


@pytest.mark.parametrize("options", RECIPES)
def test_explanations_are_about_what_mask_writes(options: dict[str, Any]) -> None:
    setting = recipe(**options)
    source = str(SAMPLES / "chat.jsonl")
    found = [item for item in explained([source], setting, Choice()) if isinstance(item, Explanation)]
    written = [
        (batch.ids[low:high].tolist(), batch.mask[low:high].tolist())
        for batch in Worker(setting).samples(
            [
                RawRow(Place(source, number, 0, 0), line)
                for number, line in enumerate(Path(source).read_bytes().splitlines(), 1)
            ],
            Tally(),
            lambda *_: None,
        )
        for low, high in zip(batch.rows[:-1].tolist(), batch.rows[1:].tolist(), strict=True)
    ]
    kept = [item for item in found if not item.left_out]
    assert len(written) > 5
    assert [([t.id for t in e.tokens], [int(t.trained) for t in e.tokens]) for e in kept] == written
    for explanation in found:
        assert "".join(text for text, _ in explanation.stretches()) == explanation.text
        assert [s.start for s in explanation.spans] == [0, *(s.stop for s in explanation.spans[:-1])]
        assert explanation.spans[-1].stop == len(explanation.text)
        assert sum(s.tokens for s in explanation.spans) == len(explanation.tokens)
        assert all(s.reason for s in explanation.spans)
        assert all(t.reason for t in explanation.tokens)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("a .\n\\«»🙂é<|im_end|>", max_size=12), min_size=2, max_size=4))
def test_the_picture_holds_for_any_content(texts: list[str]) -> None:
    (item,) = EXPLAINER.explain(raw(chat(*texts)), Choice())
    assert isinstance(item, Explanation)
    stretches = [(text, trained) for text, trained in item.stretches() if text]
    assert read_back(picture(stretches, PLAIN), PLAIN) == stretches
    assert [text.removesuffix("<|im_end|>") for text, trained in stretches if trained] == texts[1::2]


# Completions encoded on their own, so that no content's first token straddles the start of its turn.
EXPLAINER = RowExplainer(recipe(boundary="split"))


# Reasons


def test_flags_and_final_turns_are_named() -> None:
    row = chat("a", "b", "c", "d", "e", "f")
    row["messages"][1]["train"] = False
    why = {text: reason for text, _, reason in reasons(sample(row, recipe()))}
    assert why["b"] == "masked: flag train=false"
    assert why["d"] == "completion of turn 3 (assistant)"
    last = {text: reason for text, _, reason in reasons(sample(row, recipe(train_on="final-turn")))}
    assert (last["b"], last["d"]) == ("masked: flag train=false", "masked: not the final turn")
    two = {text: reason for text, _, reason in reasons(sample(chat("a", "b", "c", "d", "e", "f"),
                                                              recipe(train_on="last-2-turns")))}  # fmt: skip
    assert two["b"] == "masked: not one of the last 2 turns"


def test_history_of_an_unrolled_sample_is_named() -> None:
    first, second = items(chat("a", "b", "c", "d", id="x"), recipe(unroll="always"))
    assert isinstance(first, Explanation)
    assert isinstance(second, Explanation)
    assert (first.origin.id, second.origin.id) == ("x#1", "x#3")
    assert ("b", False, "masked: history of turn 3 (assistant), unrolled") in reasons(second)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"train_reasoning": False}, ("masked: reasoning isn't trained", True, True)),
        ({"train_end_of_turn": False}, ("masked: end-of-turn tokens aren't trained", True, False)),
        ({"turn_tokens": (None, 4)}, ("masked: turn 1 (assistant) is outside turn-tokens", False, False)),
    ],
)
def test_what_an_option_takes_out_of_a_turn_is_named(options: dict[str, Any], expected: tuple[str, bool, bool]) -> None:
    row = {"messages": [{"role": "user", "content": "a"},
                        {"role": "assistant", "content": "bb", "reasoning_content": "hm"}]}  # fmt: skip
    found = sample(row, recipe("qwen3", **options))
    masked = [reason for _, trained, reason in reasons(found) if not trained and reason.startswith("masked")]
    fates = {span.kind: span.trained for span in found.spans if span.message == 1}
    assert masked
    assert {*masked} == {expected[0]}
    assert (fates["content"], fates["end_of_turn"]) == expected[1:]


def test_a_masked_verdict_is_named_and_findings_go_with_their_turns() -> None:
    row = chat("a", "b", "c", "d")
    found = sample(row, recipe("qwen3", on_mismatch="mask"))
    assert ("b", False, "masked: verdict history of turn 1 (assistant)") in reasons(found)
    assert [(turn.verdict, turn.codes) for turn in found.turns] == [("history", ("IFT501",)), ("exact", ())]
    assert found.findings == ("IFT501",)
    assert (
        "  verdicts: turn 1 (assistant) history, turn 3 (assistant) exact\n"
        "  IFT501 turn is rendered differently as history: turn 1\n"
    ) in item_text(found, PLAIN)


def test_every_token_trained_but_the_first() -> None:
    found = sample(chat("a", "b"), recipe(train_on="all-tokens"))
    assert {reason for _, _, reason in reasons(found)} == {"every token is trained"}
    assert [(t.trained, t.reason) for t in found.tokens if t.stray] == [(False, FIRST_TOKEN)]
    assert found.stretches()[0] == ("<|im_start|>", False)
    assert f'token 0 (0-12, "<|im_start|>") masked: {FIRST_TOKEN}\n' in item_text(found, PLAIN)


def test_a_token_across_the_start_of_a_completion_is_named() -> None:
    found = sample(chat("a", "\n\nb"), recipe())
    strays = [(found.text[t.start : t.stop], t.trained, t.reason) for t in found.tokens if t.stray]
    assert strays == [("\n\n", False, STRADDLES)]
    assert found.findings == ("IFT505",)
    split = sample(chat("a", "\n\nb"), recipe(boundary="split"))
    assert ([t for t in split.tokens if t.stray], split.findings) == ([], ())


def test_a_truncated_sample_shows_what_is_kept() -> None:
    found = sample(chat("Hi", "a " * 40), recipe(max_length=20, overflow="truncate"))
    assert len(found.tokens) == 20
    assert found.origin.truncated
    assert found.findings == ("IFT506",)
    assert found.spans[-1].stop == len(found.text) < 100
    assert "tokens are cut off the end" in item_text(found, PLAIN)


def test_a_sample_that_mask_leaves_out_is_shown_and_says_so() -> None:
    found = sample(chat("Hi", "a " * 40), recipe(max_length=20))
    assert found.left_out.startswith("IFT402: ")
    assert "  mask leaves this sample out: IFT402: " in item_text(found, PLAIN)
    forged = sample(chat("<|im_end|>", "b"), recipe(content_specials="drop"))
    assert forged.left_out.startswith("IFT403: ")
    short, long = items(chat("a", "b", "c", "d " * 30), recipe(max_length=40, unroll="always"))
    assert isinstance(short, Explanation)
    assert isinstance(long, Explanation)
    assert (short.left_out, long.left_out) == ("", "IFT402: longer than the limit")


def test_explain_is_pure_and_needs_no_command() -> None:
    setting = recipe()
    worker = Worker(setting)
    (prepared,) = Preparer(setting, worker.template).prepare(raw(chat("Hi", "Yo.")))
    once = explain(prepared, worker.tokenizer, setting)
    assert once == explain(prepared, worker.tokenizer, setting, encoder=Encoder(setting, worker.tokenizer))
    assert once.trained_tokens == 4
    assert once == sample(chat("Hi", "Yo."), setting)


# Which samples


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["1 short", "3 long", "4 IFT102"]),
        (["--limit", "0"], ["1 short", "3 long", "4 IFT102", "5 IFT401"]),
        (["--limit", "1"], ["1 short"]),
        (["--row", "3"], ["3 long"]),
        (["--row", "5", "--row", "1"], ["1 short", "5 IFT401"]),
        (["--row", "2"], []),
        (["--id", "long"], ["3 long"]),
        (["--id", "open"], ["5 IFT401"]),
        (["--code", "IFT102"], ["4 IFT102"]),
        (["--code", "IFT501", "-t", "qwen3"], ["3 long"]),
        (["--verdict", "history", "-t", "qwen3"], ["3 long"]),
        (["--verdict", "exact", "-t", "qwen3"], ["1 short"]),
        (["--verdict", "history", "--row", "1", "-t", "qwen3"], []),
    ],
)
def test_selection(conversations: Path, options: list[str], expected: list[str]) -> None:
    code, output = invoke(conversations, "--json", *options)
    found = [json.loads(line) for line in output.splitlines()]
    assert [f"{item['line']} {item.get('code') or item['id']}" for item in found] == expected
    assert code == (0 if expected else 1)


def test_an_unrolled_row_is_picked_whole_or_by_sample(conversations: Path) -> None:
    setting = recipe(unroll="always")

    def found(name: str) -> list[str | None]:
        choice = Choice(ids=frozenset({name}))
        return [i.origin.id for i in explained([str(conversations)], setting, choice) if isinstance(i, Explanation)]

    assert found("long") == ["long#1", "long#3"]
    assert found("long#3") == ["long#3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--verdict", "good"], "there is no verdict 'good'"),
        (["--code", "IFT999"], "there is no code 'IFT999'"),
        (["--color", "blue"], "--color can't be 'blue'"),
        (["--against", "template"], "--against can't be 'template'"),
        (["--against", "colour=red"], "--against knows no option 'colour'"),
        (["--against", "max-length=many"], "it must be a number or none"),
        (["--against", "append-eos=1"], "it must be true or false"),
    ],
)
def test_options_that_cant_be_used(conversations: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["show", str(conversations), *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_refusals_say_where_and_why() -> None:
    refusal = Refusal(Place("a\x1b.jsonl", 4, 0, 0), "x", "IFT102", "bad\x1b[2J", "messages[0]", "fix it")
    assert item_text(refusal, PLAIN) == (
        "a\\x1b.jsonl:4: id x, no sample: IFT102 at messages[0]: bad\\x1b[2J\n  hint: fix it\n"
    )


def test_a_refusal_says_what_mask_says(tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl"
    path.write_text(r'{"messages":[{"role":"user","content":"\ud83d"},{"role":"assistant","content":"I see."}]}' + "\n")
    code, output = invoke(path)
    assert code == 0
    assert output == f"{path}:1: no sample: IFT107: \\ud83d at column 40 (byte 39) is half of a surrogate pair\n"


def test_colour_is_for_terminals_or_on_demand(conversations: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in invoke(conversations)[1]
    painted = invoke(conversations, "--color", "always", "--row", "1")[1]
    assert "| \x1b[32;4mYo.<|im_end|>\x1b[0m\x1b[2m↵\x1b[0m\n" in painted
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "\x1b" not in invoke(conversations, "--color", "never")[1]


def test_training_options_reach_the_recipe(conversations: Path) -> None:
    common = (conversations, "--row", "3", "--no-table", "-t", "qwen3")
    unrolled = invoke(*common, "--unroll", "auto", "--on-mismatch", "drop")[1]
    assert [line for line in unrolled.splitlines() if not line.startswith("|")] == [
        f"{conversations}:3: id long#1, 24 tokens, 9 trained (37.5%), verdict exact",
        "",
        f"{conversations}:3: id long#3, 45 tokens, 9 trained (20.0%), verdict exact",
    ]
    bare = ("--no-train-reasoning", "--no-train-end-of-turn", "--turn-tokens", ":4")
    assert re.findall("«.*?»", invoke(*common, *bare)[1]) == ["«Two.»"]


def test_samples_stand_apart_and_the_table_can_be_left_out(conversations: Path) -> None:
    _, output = invoke(conversations, "--no-table", "--limit", "2")
    assert output.count("\n\n") == 1
    assert "chars" not in output


# Finished shards


def write_shards(source: Path, target: Path, **options: Any) -> None:
    run_shards(
        recipe(**options),
        [str(source)],
        Target.of(target, file_format="parquet"),
        tolerance=Tolerance.parse("100%"),
        workers=1,
    )


@pytest.mark.parametrize("options", [{}, {"template": "qwen3"}, {"template": "mistral", "unroll": "always"}])
def test_shards_show_the_same_picture_as_conversations(tmp_path: Path, options: dict[str, Any]) -> None:
    source = SAMPLES / "chat.jsonl"
    write_shards(source, tmp_path / "out", **options)
    known = [i for i in explained([str(source)], recipe(**options), Choice()) if isinstance(i, Explanation)]
    for path in (tmp_path / "out", *(tmp_path / "out" / "data").iterdir()):
        found = list(shard_samples([str(path)], Choice()))
        assert len(found) == len([k for k in known if not k.left_out]) > 5
        for shard, conversation in zip(found, (k for k in known if not k.left_out), strict=True):
            assert picture(shard.stretches(), PLAIN) == picture(conversation.stretches(), PLAIN)
            assert [t.id for t in shard.tokens] == [t.id for t in conversation.tokens]
            assert (shard.origin.place.line, shard.origin.id, shard.origin.turn, shard.origin.verdict) == (
                conversation.origin.place.line,
                conversation.origin.id,
                conversation.origin.turn,
                conversation.origin.verdict,
            )


def test_shards_are_picked_by_row_id_and_verdict(conversations: Path, tmp_path: Path) -> None:
    write_shards(conversations, tmp_path / "out", template="qwen3")
    for options, expected in (
        (["--row", "3"], ["long"]),
        (["--id", "short"], ["short"]),
        (["--verdict", "history"], ["long"]),
        (["--row", "2"], []),
    ):
        code, output = invoke(tmp_path / "out", "--json", *options)
        assert [json.loads(line)["id"] for line in output.splitlines()] == expected
        assert code == (0 if expected else 1)
    text = invoke(tmp_path / "out", "--row", "1")[1]
    assert "  shards don't say why a token is trained: show the conversations for reasons\n" in text
    assert "chars" not in text
    assert CliRunner().invoke(app, ["show", str(tmp_path / "out"), "--code", "IFT501"]).exit_code == 2
    assert CliRunner().invoke(app, ["show", str(tmp_path / "out"), "--against", "spans=auto"]).exit_code == 2


def test_a_shard_away_from_its_folder_needs_a_tokenizer(conversations: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "here" / "alone.parquet"
    alone.parent.mkdir(parents=True)
    run_shards(
        recipe(),
        [str(conversations)],
        Target(alone, columns=("input_ids", "labels")),
        tolerance=Tolerance.parse("100%"),
        workers=1,
    )
    with pytest.raises(UsageError, match="no tokenizer beside"):
        list(shard_samples([str(alone)], Choice()))
    found = list(shard_samples([str(alone)], Choice(lines=frozenset({2})), tokenizer="default"))
    assert [(f.origin.place.line, f.origin.verdict) for f in found] == [(2, "unknown")]
    assert [text for text, trained in found[0].stretches() if trained] == ["Two.<|im_end|>", "Four.<|im_end|>"]


def test_a_shard_without_a_mask_says_so(conversations: Path, tmp_path: Path) -> None:
    target = Target(tmp_path / "bare.parquet", columns=("input_ids",))
    run_shards(recipe(), [str(conversations)], target, tolerance=Tolerance.parse("100%"), workers=1)
    found = list(shard_samples([str(target.path)], Choice(), tokenizer="default"))
    assert [NO_MASK in sample.notes for sample in found] == [True, True]


# Comparisons


def compared(row: dict[str, Any], before: Recipe, after: Recipe) -> Any:
    (old,), (new,) = items(row, before), items(row, after)
    return compare(old, new)


def test_tokens_that_change_sides_come_with_both_reasons() -> None:
    difference = compared(chat("a", "b", "c", "d"), recipe(), recipe(train_on="final-turn"))
    assert difference.kind == "sides"
    assert [(move.text, move.now_trained, move.tokens, move.before, move.after) for move in difference.moves] == [
        ("b", False, 1, "completion of turn 1 (assistant)", "masked: not the final turn"),
        (
            "<|im_end|>",
            False,
            1,
            "end-of-turn token of turn 1 (assistant)",
            "prompt: template text between messages 1 and 2",
        ),
    ]
    assert difference_text(difference, PLAIN).splitlines()[2:5] == [
        '  trained → masked: 1 token, chars 51-52: "b"',
        "    before: completion of turn 1 (assistant)",
        "    after:  masked: not the final turn",
    ]
    back = compared(chat("a", "b", "c", "d"), recipe(train_on="final-turn"), recipe())
    assert [move.now_trained for move in back.moves] == [True, True]
    assert "masked -> trained" in difference_text(back, ASCII)


def test_the_same_setting_is_no_difference() -> None:
    difference = compared(chat("a", "b"), recipe(), recipe(spans="completion"))
    assert (difference.kind, difference.moves, difference.lines) == ("same", (), ())


def test_another_text_is_shown_by_lines() -> None:
    difference = compared(chat("a", "b"), recipe("qwen3"), recipe("chatml"))
    assert difference.kind == "text"
    assert difference_text(difference, PLAIN).splitlines()[2:] == [
        "  the text differs:",
        "    @ 1 equal line",
        "      | a<|im_end|>↵",
        "      | <|im_start|>assistant↵",
        "    - | «<think>↵»",
        "    - | «↵»",
        "    - | «</think>↵»",
        "    - | «↵»",
        "    - why: completion of turn 1 (assistant)",
        "      | «b<|im_end|>»↵",
    ]
    assert difference.moves == ()


def test_equal_lines_of_another_text_still_change_sides() -> None:
    difference = compared(chat("a", "b", "c", "d"), recipe("qwen3"), recipe(train_on="final-turn"))
    assert difference.kind == "text"
    assert [move.text for move in difference.moves] == ["b", "<|im_end|>"]


def test_the_same_text_in_other_tokens() -> None:
    whole = sample(chat("a", "b"), recipe())
    last = whole.tokens[-1]
    halves = replace(whole, tokens=(*whole.tokens[:-1], replace(last, id=last.id + 1, trained=True, reason="new")))
    difference = compare(whole, halves)
    assert difference.kind == "tokens"
    assert [(move.text, move.tokens, move.after) for move in difference.moves] == [("\n", 1, "new")]
    assert "  the text is the same, its tokens aren't\n" in difference_text(difference, PLAIN)


def test_samples_of_one_side_only(conversations: Path) -> None:
    choice = Choice(ids=frozenset({"long"}))
    found = list(differences([str(conversations)], (recipe(), recipe(unroll="always")), choice))
    assert [(d.kind, d.before is None, d.after is None) for d in found] == [
        ("one-sided", False, True),
        ("one-sided", True, False),
        ("one-sided", True, False),
    ]
    assert difference_text(found[0], PLAIN).splitlines()[1] == "+ no such sample"
    shorter = list(differences([str(conversations)], (recipe(), recipe(max_length=20)), Choice()))
    assert [d.kind for d in shorter] == ["same", "one-sided", "same", "same"]
    assert "+ mask leaves this sample out: IFT402" in difference_text(shorter[1], PLAIN)


def test_against_compares_all_and_prints_up_to_the_limit(conversations: Path) -> None:
    code, output = invoke(conversations, "-t", "qwen3", "--against", "template=chatml", "--limit", "1")
    assert code == 0
    assert output.count("the text differs") == 1
    assert output.splitlines()[-1] == (
        "4 samples compared: 2 the same, 2 with another text; 0 tokens become trained, 0 masked"
    )
    _, lines = invoke(conversations, "--against", "train-on=final-turn", "--json")
    found = [json.loads(line) for line in lines.splitlines()]
    assert [item["kind"] for item in found] == ["sides", "summary"]
    assert [move["text"] for move in found[0]["moves"]] == ["Two.", "<|im_end|>"]
    assert (found[1]["same"], found[1]["newly_masked"]) == (3, 4)
    assert counts_text(DiffCounts()) == "0 samples compared: none; 0 tokens become trained, 0 masked\n"
    one = DiffCounts(sides=1, newly_trained=1)
    assert counts_text(one) == (
        "1 sample compared: 1 with tokens that change sides; 1 token becomes trained, 0 masked\n"
    )


def test_settings_are_read_by_the_type_of_their_option() -> None:
    changes = [
        "--train-on=final-turn",
        "max-length=12",
        "append-eos=true",
        'template-kwargs={"a": 1}',
        "template=qwen3",
        "turn_tokens=2:",
    ]
    assert changed_options({"template": "chatml", "spans": "auto"}, changes) == {
        "template": "qwen3",
        "spans": "auto",
        "train_on": "final-turn",
        "max_length": 12,
        "append_eos": True,
        "template_kwargs": {"a": 1},
        "turn_tokens": (2, None),
    }
    assert changed_options({}, ["max-length=none"]) == {"max_length": None}
