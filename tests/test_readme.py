"""Every block of the README runs, and prints what the README says. `python tests/test_readme.py` writes that anew."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import ROOT, SAMPLES, RunCli

README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED = (
    "Makefile",
    "README.md",
    "LICENSE",
    "pyproject.toml",
    "examples",
    "ifttool",
    "samples",
    "scripts",
    "templates",
)


def blocks(text: str) -> Iterator[tuple[str, str, str | None]]:
    """Language and code of each block, with the text block that follows it without words between, if one does."""
    found = list(BLOCK.finditer(text))
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block[1] == "text":
            continue
        is_output = following is not None and following[1] == "text"
        is_next = is_output and not text[block.end() : following.start()].strip()
        yield block[1], block[2], following[2] if is_next else None


def prepare(folder: Path) -> dict[str, str]:
    """A copy of what the README talks about, and an environment whose commands stay inside it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
        else:
            shutil.copy(source, folder / name)
    programs = {
        "python": f'exec "{sys.executable}" "$@"',
        "ifttool": f'exec "{sys.executable}" -P -m ifttool "$@"',
        # Installs without network, beside the copy.
        "pip": f'exec "{sys.executable}" -m pip -q "$@" --no-deps --no-index --no-build-isolation --target installed',
    }
    (folder / "bin").mkdir()
    for name, body in programs.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    return {
        **kept,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "PYTHONUTF8": "1",
        # make only says what it would do: its targets install from the network.
        "MAKEFLAGS": "-n",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def run(language: str, code: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a block; gives all it prints."""
    program = {"sh": ["sh", "-euc"], "python": [sys.executable, "-P", "-c"]}[language]
    done = subprocess.run(
        [*program, code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}"
    return done.stdout


def test_every_block_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    environment = prepare(tmp_path)
    shown = 0
    for language, code, output in blocks(README.read_text(encoding="utf-8")):
        printed = run(language, code, tmp_path, environment)
        if output is not None:
            assert printed == output, code
            shown += 1
    assert shown == README.read_text(encoding="utf-8").count("```text\n")
    assert (tmp_path / "installed" / "ifttool" / "templates" / "chatml.jinja").is_file()


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_picture_of_the_page_about_show(tmp_path: Path, cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "show.md").read_text(encoding="utf-8")
    shown = page.split("```\n")[3].splitlines()
    (tmp_path / "samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    printed = cli("show", "samples/chat.jsonl", "--limit", "1").out.splitlines()
    assert shown[0] == printed[0]
    assert [line for line in shown if line not in (*printed, "…")] == []


def rewrite() -> None:
    """Replace the text blocks by what the commands print."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        environment = prepare(Path(name))
        for language, code, output in blocks(text):
            printed = run(language, code, Path(name), environment)
            if output is not None:
                before = f"{code}```\n\n```text\n"
                text = text.replace(f"{before}{output}```", f"{before}{printed}```", 1)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
