"""What is begun before the command line is parsed: the load of the fast encoder, if there will be much to encode."""

from pathlib import Path

import pytest

from helpers import run_python
from ifttool.cli.ahead import begin
from ifttool.tokenizer import fast_load


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tokenizers whose load was begun; in a folder with a large file and a small one."""
    (tmp_path / "large.jsonl").write_bytes(bytes((4 << 20) + 1))
    (tmp_path / "small.jsonl").write_bytes(bytes(4 << 20))
    found: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fast_load, "load_ahead", found.append)
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mask large.jsonl -o out --tokenizer folder", ["folder"]),
        ("tokenize --tokenizer=folder --quiet large.jsonl -o out", ["folder"]),
        ("unroll --tokenizer other large.jsonl -o out --tokenizer folder", ["folder"]),
        ("mask small.jsonl small.jsonl -o out --tokenizer folder", ["folder"]),
        ("mask small.jsonl -o out --tokenizer folder", []),
        ("mask small.jsonl -o out --tokenizer large.jsonl", []),
        ("mask large.jsonl -o out", []),  # the small tokenizer in the package loads at once
        ("mask large.jsonl -o out --tokenizer", []),
        ("mask large.jsonl -o out --tokenizer folder --backend tokenizers", []),
        ("mask large.jsonl -o out --tokenizer folder --backend=tokenizers", []),
        ("mask large.jsonl -o out --tokenizer folder --backend auto", ["folder"]),
        ("stats large.jsonl --tokenizer folder", []),
        ("--help mask large.jsonl --tokenizer folder", []),
        ("", []),
        ("mask . absent.jsonl -o out --tokenizer folder", []),
        (f"mask {'a' * 10_000} a\0b -o out --tokenizer folder", []),
    ],
)
def test_what_a_command_line_is_taken_for(line: str, expected: list[str], begun: list[str]) -> None:
    begin(line.split(" ") if line else [])
    assert begun == expected


def test_a_load_that_was_begun_is_given_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(fast_load, "_load_file", loaded.append)
    fast_load.load_ahead("folder")
    assert fast_load.fast_load("other").result() is None
    first, second = fast_load.fast_load("folder"), fast_load.fast_load("folder")
    assert first is not second
    first.result()
    assert sorted(loaded) == ["folder", "other"]
    second.result()
    assert sorted(loaded) == ["folder", "folder", "other"]


RUN = """
import sys
from ifttool.cli.start import main
from ifttool.tokenizer import fast_load
load, load_ahead = fast_load._load_file, fast_load.load_ahead
def begun(source):
    print("begun", "typer" in sys.modules, flush=True)
    load_ahead(source)
def loaded(source):
    print("loaded", flush=True)
    return load(source)
fast_load.load_ahead, fast_load._load_file = begun, loaded
sys.argv = [*"ifttool mask in.jsonl -o out --template chatml --workers 2 --quiet --tokenizer".split(), TOKENIZER]
main()
"""


def test_the_encoder_loads_once_and_before_the_command_line_is_imported(tmp_path: Path) -> None:
    tokenizer = str(Path(fast_load.__file__).parent / "default")
    row = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}]}\n'
    (tmp_path / "in.jsonl").write_text(row * (1 + (4 << 20) // len(row)))
    assert run_python(f"TOKENIZER = {tokenizer!r}\n{RUN}", cwd=tmp_path) == "begun False\nloaded\n"
    assert (tmp_path / "out" / "manifest.json").is_file()
