"""The commands as a shell sees them: exit codes, what goes to which stream, and what a mistake says."""

import base64
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import (
    ROOT,
    SAMPLES,
    TINY,
    RunCli,
    chat,
    command,
    content_digests,
    environment,
    jsonl,
    read_manifest,
    run_python,
)
from ifttool import __version__
from ifttool.cli import run

BAD = SAMPLES / "bad.jsonl"
BAD_CODES = {"IFT102": 1, "IFT103": 1, "IFT107": 1, "IFT201": 1, "IFT203": 1}


def shell(script: str, *, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a bash script in which ``ifttool`` is this checkout."""
    function = f'ifttool() {{ "{sys.executable}" -P -m ifttool "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", "set -o pipefail\n" + function + script],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


# --- exit codes ---------------------------------------------------------------------------------------


def test_done(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    done = cli("mask", tiny, "-o", tmp_path / "out")
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        f"1 line = 1 kept\n1 sample, 54 tokens, 6 trained (11.1%)\nturns: 2 exact\nwrote {tmp_path / 'out'}\n"
    )


def test_no_sample_is_worth_a_warning(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    done = cli("mask", tiny, "--train-on", "tool", "-o", tmp_path / "out")
    assert (done.code, "\nwarning: no row gave a sample\n" in done.err) == (0, True)
    assert "its roles are system, user, assistant" in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_rejected_rows(tmp_path: Path, cli: RunCli) -> None:
    done = cli("mask", BAD, "-o", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    places = [line.removeprefix(f"{BAD}:").split(":")[0] for line in lines if line.startswith(str(BAD))]
    assert places == ["2", "6", "8", "10", "12"]
    assert lines[-1] == (
        "ifttool: 5 rows rejected, more than --max-rejects allows: no shards were written. "
        f"The rows are in {tmp_path / 'out' / 'rejects.jsonl'}"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["rejects.jsonl"]


@pytest.mark.parametrize("tolerance", ["5", "34%"])
def test_tolerated_rejects(tmp_path: Path, cli: RunCli, tolerance: str) -> None:
    done = cli("mask", BAD, "-o", tmp_path / "out", "--max-rejects", tolerance)
    assert done.code == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest["inputs"] == {
        str(BAD): {"lines": 15, "blanks": 0, "kept": 9, "rejected": BAD_CODES, "dropped": {"IFT401": 1}}
    }
    assert manifest["samples"] == 9


@pytest.mark.parametrize(
    "arguments",
    [
        ["mask", "samples/none.jsonl", "-o", "out"],
        ["mask", "samples", "-o", "out"],
        ["mask", "samples/chat.jsonl", "-o", "-"],
        ["mask", "samples/chat.jsonl", "-o", "out.jsonl"],
        ["mask", "samples/chat.jsonl"],
        ["mask", "samples/chat.jsonl", "-o", "out", "--train-on", "no-such-thing"],
        ["mask", "samples/chat.jsonl", "-o", "out", "--no-such-option"],
        ["mask", "samples/chat.jsonl", "-o", "out", "--template-kwargs", "[]"],
        ["mask", "samples/chat.jsonl", "-o", "out", "--template-kwargs", '{"messages": []}'],
        ["render", "samples/chat.jsonl", "-o", "no/such/folder/rows.jsonl"],
        ["stats", "samples/none.jsonl"],
        ["no-such-command"],
    ],
)
def test_usage_errors(tmp_path: Path, cli: RunCli, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "error" in done.err.lower()
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]


def test_internal_errors_show_no_data(tmp_path: Path, tiny: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise ZeroDivisionError("\x1b[2Joops")

    monkeypatch.setattr("ifttool.engine.process_split", fail)
    monkeypatch.delenv("IFTTOOL_DEBUG", raising=False)
    done = cli("mask", tiny, "-o", tmp_path / "out")
    assert done.code == 3
    assert done.err.splitlines()[0] == "ifttool: internal error: ZeroDivisionError: \\x1b[2Joops"


def test_disk_errors_name_the_file(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    done = cli("render", tiny, "-o", "/dev/full/rows.jsonl")
    assert done.code == 2
    full = shell(f"ifttool render {tiny} > /dev/full", cwd=tmp_path)
    assert (full.returncode, full.stdout) == (3, "")
    assert "No space left on device" in full.stderr


# --- streams ------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_bytes(jsonl(*[chat("Hi " * 100, "Yo " * 100)] * 2000))
    done = shell("ifttool unroll many.jsonl | head -1 | wc -l", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")


def test_messages_nobody_reads_do_not_change_the_exit_code(tmp_path: Path) -> None:
    rows = jsonl(*[{"no": "conversation"}] * 30)
    (tmp_path / "bad.jsonl").write_bytes(rows)
    done = shell("ifttool mask bad.jsonl -o out 2>&1 >/dev/null | true", cwd=tmp_path)
    assert done.returncode == 1


def test_pipe_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(SAMPLES)
    done = shell(
        "ifttool mask samples/multi_turn.jsonl -o one && "
        "cat samples/multi_turn.jsonl | ifttool unroll - | ifttool mask - --tokenizer one/tokenizer "
        "--template chatml -o piped && ifttool unroll samples/multi_turn.jsonl -o direct",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert content_digests(tmp_path / "piped") == content_digests(tmp_path / "direct")


def test_progress_only_on_a_terminal(tmp_path: Path, tiny: Path) -> None:
    plain = subprocess.run(
        command("mask", tiny, "-o", "plain"), cwd=tmp_path, env=environment(), capture_output=True, check=True
    )
    assert b"\x1b" not in plain.stderr + plain.stdout
    main, terminal = pty.openpty()
    subprocess.run(
        command("mask", tiny, "-o", "live"), cwd=tmp_path, env=environment(TERM="xterm"), stderr=terminal, check=True
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(main, 4096):
            shown += part
    except OSError:  # Linux says EIO where other systems say end of file
        pass
    os.close(main)
    assert b"\x1b" in shown
    assert b"1 row  " in shown


class _Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "arguments",
    ["mask -o out", "tokenize - -o out", "unroll", "render -", "stats", "show", "templates doctor chatml -"],
)
def test_reading_from_a_terminal_is_said(
    tmp_path: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = "ifttool: reading from standard input, which is this terminal; Ctrl-D ends it\n"
    assert said not in cli(*arguments.split()).err
    monkeypatch.setattr("io.BytesIO", _Terminal)
    again = ["--force"] if "out" in arguments else []
    assert cli(*arguments.split(), *again).err.startswith(said)
    if arguments != "show":
        assert said not in cli(*arguments.split(), *again, "--quiet").err


def test_a_terminal_is_left_at_the_first_end(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    os.write(main, b'{"text": "a"}\n\x04')
    done = subprocess.run(
        command("render"), cwd=tmp_path, env=environment(), stdin=terminal, capture_output=True, timeout=60, check=True
    )
    os.close(terminal)
    os.close(main)
    assert json.loads(done.stdout)["source"] == "-"


def test_quiet(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    for arguments in (["mask", tiny, "-o", tmp_path / "out"], ["tokenize", tiny, "-o", tmp_path / "out2"]):
        done = cli(*arguments, "--quiet")
        assert (done.code, done.out, done.err) == (0, "", "")
    done = cli("unroll", BAD, "--quiet")
    assert done.code == 1
    assert done.err == ("ifttool: 5 rows rejected, more than --max-rejects allows: the output isn't complete\n")


def test_json_summary(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    done = cli("mask", tiny, "-o", tmp_path / "out", "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    summary = json.loads(done.out)
    manifest = read_manifest(tmp_path / "out")
    assert summary.pop("committed") is True
    assert summary.pop("rejects") is None
    assert summary.pop("renders") == {"segments": 1}
    assert summary == {name: manifest[name] for name in summary}
    assert (summary["samples"], summary["tokens"], summary["trained_tokens"]) == (1, 54, 6)


def test_json_summary_of_a_failed_run(tmp_path: Path, cli: RunCli) -> None:
    done = cli("mask", BAD, "-o", tmp_path / "out", "--json", "-q")
    summary = json.loads(done.out)
    assert done.code == 1
    assert (summary["committed"], summary["shards"]) == (False, [])
    assert summary["rejects"] == str(tmp_path / "out" / "rejects.jsonl")
    assert summary["inputs"][str(BAD)]["rejected"] == BAD_CODES


# --- rejects ------------------------------------------------------------------------------------------


def rejects_of(path: Path) -> dict[int, dict[str, Any]]:
    return {record["line"]: record for record in map(json.loads, path.read_bytes().splitlines())}


def test_rejects_return_the_original_bytes(tmp_path: Path, cli: RunCli) -> None:
    cli("mask", BAD, "-o", tmp_path / "out")
    records = rejects_of(tmp_path / "out" / "rejects.jsonl")
    data = BAD.read_bytes()
    lines = data.split(b"\n")
    assert sorted(records) == [2, 6, 8, 10, 12, 14]
    for line, record in records.items():
        assert base64.b64decode(record["raw_b64"]) == lines[line - 1]
        assert data[record["byte_start"] :][: record["byte_len"]] == lines[line - 1]
        assert record["file"] == str(BAD)
    assert {line: (record["kind"], record["code"]) for line, record in records.items()} == {
        2: ("rejected", "IFT102"),
        6: ("rejected", "IFT203"),
        8: ("rejected", "IFT201"),
        10: ("rejected", "IFT107"),
        12: ("rejected", "IFT103"),
        14: ("dropped", "IFT401"),
    }
    assert records[6]["path"] == "messages[0].content[1]"


def test_rejects_of_streams(tmp_path: Path, cli: RunCli) -> None:
    done = cli("unroll", BAD, "-o", tmp_path / "rows.jsonl", "--rejects", tmp_path / "r.jsonl")
    assert done.code == 1
    assert not (tmp_path / "rows.jsonl").exists()
    assert sorted(rejects_of(tmp_path / "r.jsonl")) == [2, 6, 8, 10, 12, 14]
    done = cli("unroll", BAD, "-o", tmp_path / "rows.jsonl", "--max-rejects", "5")
    assert done.code == 0
    assert len((tmp_path / "rows.jsonl").read_bytes().splitlines()) == 9
    done = cli("unroll", BAD, "--rejects", "-")
    assert (done.code, done.out) == (2, "")
    assert "rejected rows can't go to standard output" in done.err


def test_the_template_refuses_in_its_own_words(tmp_path: Path, cli: RunCli) -> None:
    source = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "Are you there?"}, {"role": "user", "content": "Hello?"}]
    source.write_bytes(jsonl(TINY, {"messages": [*turns, {"role": "assistant", "content": "Yes."}]}))
    done = cli("mask", source, "-o", tmp_path / "out", "--template", "chatml-strict")
    assert done.code == 1
    assert done.err.splitlines()[:2] == [
        f"{source}:2: IFT301: Conversation roles must alternate user/assistant/user/assistant/...",
        "  hint: said by chat template chatml-strict",
    ]


@pytest.mark.parametrize(
    ("template", "way"),
    [("qwen3", "--unroll auto repairs this"), ("deepseek-r1-distill", "--on-mismatch mask masks such turns only")],
)
def test_the_hint_fits_the_verdict(tmp_path: Path, cli: RunCli, template: str, way: str) -> None:
    arguments = ["mask", SAMPLES / "multi_turn.jsonl", "-o", tmp_path / "out", "--on-mismatch", "error", "-t"]
    assert (
        f"\n  hint: ifttool templates doctor says why; {way}\n" in cli(*arguments, template, "--allow-text-markers").err
    )


@pytest.mark.parametrize("rows", [1, 2])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, tiny: Path, cli: RunCli, rows: int) -> None:
    tiny.write_bytes(jsonl(*[TINY] * rows))
    for more in ([], ["-t", "chatml"]):
        done = cli("mask", tiny, "-o", tmp_path / "out", "--tokenizer", tiny, *more)
        assert done.code == 2
        assert f"error: {tiny} isn't a tokenizer.json: " in done.err
        assert "hint: give a folder that holds tokenizer.json" in done.err


USER, ANSWER = TINY["messages"][1:3]
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


@pytest.mark.parametrize(
    ("template", "messages", "hint"),
    [
        ("{{ messages[1].content.strip() }}", [USER, CALL], "message 1 (counted from 0) has no content, which this"),
        ("{{ 'x' + messages[1]['content'] }}", [USER, CALL], "message 1 (counted from 0) has no content, which this"),
        ("{{ 'x' + messages[0].content }}", [PARTS, ANSWER], "message 0 (counted from 0) has its content as a list"),
        ("{{ messages[0].content.strip() }}", [PARTS, ANSWER], "message 0 (counted from 0) has its content as a list"),
        ("{{ messages[0].content.content.strip() }}", [PARTS, CALL], "message 0 (counted from 0) has its content as"),
        # The row isn't the reason.
        ("{{ {}.content.strip() }}", [USER, ANSWER], ""),
        ("{{ 'x' + [] }}", [USER, ANSWER], ""),
    ],
)
def test_what_of_the_row_a_template_failed_on(
    tmp_path: Path, cli: RunCli, template: str, messages: list[dict[str, Any]], hint: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(jsonl({"messages": messages}))
    (tmp_path / "strict.jinja").write_text(template)
    done = cli("render", tmp_path / "rows.jsonl", "-t", tmp_path / "strict.jinja")
    assert "IFT302: chat template" in done.err
    assert f"\n  hint: {hint}" in done.err if hint else "hint" not in done.err


def test_only_the_first_rejects_are_printed(tmp_path: Path, cli: RunCli) -> None:
    done = cli("unroll", "-", stdin=jsonl(*[{"no": "conversation"}] * 30))
    assert done.err.count("IFT201: unknown row shape") == 20
    assert "… and 10 more rejected rows\n" in done.err


def test_control_characters_of_the_data_are_escaped(tmp_path: Path, cli: RunCli) -> None:
    messages = [{"role": "user", "content": [{"type": "\x1b[2J"}]}, {"role": "assistant", "content": "Hi"}]
    done = cli("unroll", "-", stdin=jsonl({"messages": messages}))
    assert done.code == 1
    assert "\x1b" not in done.err


# --- render -------------------------------------------------------------------------------------------


def test_render(tiny: Path, cli: RunCli) -> None:
    done = cli("render", tiny)
    row = json.loads(done.out)
    assert (row["source"], row["line"], row["id"]) == (str(tiny), 1, "tiny")
    spans = [
        (span["message"], span["verdict"], "".join(row["text"][low:high] for low, high in span["intervals"]))
        for span in row["spans"]
    ]
    assert spans == [(2, "exact", "4<|im_end|>"), (4, "exact", "Yes.<|im_end|>")]


def test_render_text_with_generation_prompt(tiny: Path, cli: RunCli) -> None:
    done = cli("render", tiny, "--plain", "--generation-prompt")
    assert done.out.endswith("Yes.<|im_end|>\n<|im_start|>assistant\n\n")
    assert done.out.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_template_kwargs(tmp_path: Path, tiny: Path, cli: RunCli) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{{ greeting }}{% for m in messages %}{{ m.content }}{% endfor %}")
    done = cli("render", tiny, "--plain", "-t", template, "--template-kwargs", '{"greeting": "Hej "}')
    assert done.out == "Hej Be brief.What is 2 + 2?4Sure?Yes.\n"


# --- help ---------------------------------------------------------------------------------------------


def test_version(cli: RunCli) -> None:
    assert cli("--version").out == f"ifttool {__version__}\n"


@pytest.mark.parametrize("name", ["render", "tokenize", "mask", "unroll", "stats"])
def test_help(cli: RunCli, name: str) -> None:
    done = cli(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: ")


def test_help_is_fast(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from ifttool.cli.app import app\n"
        "try:\n"
        "    app(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'jinja2', 'msgspec', 'numpy', 'pyarrow', 'tokenizers', 'zstandard'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\n"
        "sys.exit(bool(heavy))"
    )
    assert "Usage: " in run_python(code, cwd=tmp_path)


def test_command_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"], env=environment(), check=False
    )
    assert done.returncode == 0, "run `make docs`"


def test_exit_codes_are_those_of_the_manual() -> None:
    assert (run.DONE, run.DATA, run.USAGE, run.FAILED, run.INTERRUPTED, run.TERMINATED) == (0, 1, 2, 3, 130, 143)
