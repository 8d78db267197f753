"""The library gives what the commands give, under the same names."""

import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import ifttool
from helpers import SAMPLES, RunCli, content_digests
from ifttool import api
from ifttool.cli import app
from ifttool.errors import RowError, UsageError

# What only a shell or only a program needs.
OF_SHELLS = {"quiet", "json", "plain", "output", "rejects", "force", "max_rejects", "max_length", "batch_size", "input"}
OF_PROGRAMS = {"stdin", "on_reject", "on_progress"}


def options(function: Any) -> dict[str, Any]:
    """Options of a library function with their defaults; those of its TypedDict have none."""
    names: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            (held,) = parameter.annotation.__args__
            names |= dict.fromkeys(get_type_hints(held))
        else:
            names[name] = parameter.default
    return names


@pytest.mark.parametrize(
    ("function", "command"),
    [
        (api.render, app.render),
        (api.tokenize, app.tokenize),
        (api.mask, app.mask),
        (api.unroll_shards, app.unroll),
        (api.stats, app.stats),
    ],
)
def test_options_have_the_names_of_the_command(function: Any, command: Any) -> None:
    library, shell = options(function), inspect.signature(command).parameters
    assert set(library) - OF_PROGRAMS - OF_SHELLS == set(shell) - OF_SHELLS
    for name in ("train_on", "spans", "no_loss", "generation_prompt", "overflow"):
        if library.get(name) is not None:
            assert library[name] == shell[name].default


def test_mask_equals_the_command(tmp_path: Path, cli: RunCli) -> None:
    source = SAMPLES / "tools.jsonl"
    kwargs = {"enable_thinking": False}
    summary = ifttool.mask(
        str(source), str(tmp_path / "library"), template="qwen3", template_kwargs=kwargs, date="2026-01-31"
    )
    done = cli(
        *("mask", source, "-o", tmp_path / "shell", "-t", "qwen3", "--template-kwargs", json.dumps(kwargs)),
        *("--date", "2026-01-31", "--json", "-q"),
    )
    assert json.loads(done.out) == summary.as_json()
    assert content_digests(tmp_path / "library") == content_digests(tmp_path / "shell")


def test_render_and_unroll_equal_the_commands(cli: RunCli) -> None:
    source = SAMPLES / "multi_turn.jsonl"
    for name in ("render", "unroll"):
        rows = list(getattr(ifttool, name)(source))
        assert [json.dumps(row) for row in rows] == [
            json.dumps(json.loads(line)) for line in cli(name, source).out.splitlines()
        ]


def test_stats_equal_the_command(tmp_path: Path, cli: RunCli) -> None:
    source = SAMPLES / "chat.jsonl"
    figures = ifttool.stats(source)
    assert json.loads(cli("stats", source, "--json").out) == json.loads(json.dumps(figures.as_json()))
    ifttool.mask(source, tmp_path / "out")
    finished = ifttool.stats(tmp_path / "out")
    assert (finished.tokens, finished.trained, finished.turns) == (figures.tokens, figures.trained, figures.turns)


def test_stats_of_both_kinds_at_once(tmp_path: Path) -> None:
    ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "out")
    with pytest.raises(UsageError, match="holds finished samples"):
        ifttool.stats([tmp_path / "out", SAMPLES / "chat.jsonl"])


def test_rows_count_as_they_come() -> None:
    rows = ifttool.render(SAMPLES / "chat.jsonl")
    assert rows.tally.total.lines == 0
    first = next(rows)
    assert first["id"] == "greeting"
    assert rows.tally.total.kept == 1
    assert len(list(rows)) == 10
    rows.tally.check()


def test_a_row_the_template_refuses(tmp_path: Path) -> None:
    rows = ifttool.render(SAMPLES / "tools.jsonl")
    with pytest.raises(RowError, match=r"tools\.jsonl:1: chatml has no markup for tools"):
        next(rows)


def test_several_inputs() -> None:
    rows = list(ifttool.unroll([SAMPLES / "chat.jsonl", str(SAMPLES / "multi_*.jsonl")]))
    assert len(rows) == 14 + 2
    with pytest.raises(UsageError, match="the same input"):
        ifttool.unroll([SAMPLES / "chat.jsonl", str(SAMPLES / "chat.jsonl")])


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train_onn": "final-turn"}
    with pytest.raises(TypeError, match="train_onn"):
        ifttool.mask(SAMPLES / "chat.jsonl", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
