"""The examples run as they stand: the Makefile, and the commands of the CI files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import ROOT, chat, environment, jsonl, read_manifest

EXAMPLES = ROOT / "examples"


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment whose ``ifttool`` is this checkout's and whose ``pip`` installs nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in (("ifttool", f'exec "{sys.executable}" -P -m ifttool "$@"'), ("pip", "exit 0")):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    kept = {name: value for name, value in environment().items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**kept, "PATH": f"{folder}{os.pathsep}{kept['PATH']}"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project like the one that the CI files expect."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "chats.jsonl").write_bytes(jsonl(*(chat(f"Say {n}.", f"{n}.") for n in range(40))))
    recipe = (EXAMPLES / "recipe.toml").read_text()
    start, end = recipe.index("inputs ="), recipe.index("output =")
    (folder / "recipe.toml").write_text(f'{recipe[:start]}inputs = "data/*.jsonl"\n{recipe[end:]}')
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((folder / "build").rglob("*")) if path.is_file()}


def run(command: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(["sh", "-ec", command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_makes_once(tmp_path: Path, programs: dict[str, str]) -> None:
    for name in ("examples", "samples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("build"))
    folder = tmp_path / "examples"
    assert "ifttool run" in run("make", folder, programs)
    before = outputs(folder)
    assert "Nothing to be done" in run("make", folder, programs)
    # What the dependency file names makes it anew: an input, and the recipe.
    for path in (tmp_path / "samples" / "chat.jsonl", folder / "recipe.toml"):
        os.utime(path, (2e9, 2e9))
        assert "ifttool run" in run("make", folder, programs)
        os.utime(path, (1e9, 1e9))
        assert "Nothing to be done" in run("make", folder, programs)
    assert outputs(folder) == before
    assert "ifttool verify" in run("make verify", folder, programs)
    run("make clean", folder, programs)
    assert not (folder / "build").exists()


def test_gitlab(project: Path, programs: dict[str, str]) -> None:
    job = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["shards"]
    assert all((project / name).is_file() for name in job["cache"]["key"]["files"])
    check_job(project, programs, job["script"], [*job["cache"]["paths"], *job["artifacts"]["paths"]])


def test_github(project: Path, programs: dict[str, str]) -> None:
    workflow: dict[Any, Any] = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    assert workflow[True] == "push"  # YAML 1.1 reads `on` as true; GitHub doesn't
    steps = workflow["jobs"]["shards"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    paths = [step["with"]["path"] for step in steps if "path" in step.get("with", {})]
    check_job(project, programs, [step["run"] for step in steps if "run" in step], paths)


def check_job(project: Path, programs: dict[str, str], commands: list[str], paths: list[str]) -> None:
    """Run a job twice, as with a cache: the second time writes nothing new."""
    assert any("verify" in command for command in commands)
    for command in commands:
        run(command, project, programs)
    assert all((project / path).is_dir() for path in paths)
    before = outputs(project)
    times = {path: path.stat().st_mtime_ns for path in (project / "build" / "shards").rglob("*")}
    for command in commands:
        run(command, project, programs)
    assert outputs(project) == before
    assert {path: path.stat().st_mtime_ns for path in (project / "build" / "shards").rglob("*")} == times
    assert read_manifest(project / "build" / "shards")["samples"] == 40


BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["recipes", "verify", "ci"])
def test_pages_say_what_happens(project: Path, programs: dict[str, str], page: str) -> None:
    """Files of a page are written, its commands run in order, and print what the next block says."""
    (project / "recipe.toml").write_text(
        'inputs = "data/chats.jsonl"\noutput = "build/shards"\ndate = "2026-01-31"\n', encoding="utf-8"
    )
    blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    names = {"toml": "recipe.toml", "make": "Makefile"}
    printed = None
    for language, text in blocks:
        if language in names:
            (project / names[language]).write_text(text)
        elif language == "sh":
            printed = run(f"exec 2>&1\n{text}", project, programs)
        else:
            assert (language, printed) == ("text", text)
            printed = None
    assert len(blocks) >= 4
