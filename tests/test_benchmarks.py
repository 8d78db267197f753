"""The figures in the docs are those that were measured, and every benchmark runs."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import agents, common, data, processes, report
from benchmarks.__main__ import SCRIPTS
from benchmarks.processes import run
from helpers import ROOT, environment, run_python

TINY = common.Options("tiny", 1, False, common.SCRATCH / "tiny")


def bench(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run one script on a few rows."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--tiny", "--results", str(folder), *arguments],
        cwd=ROOT,
        env=environment(PYTHONWARNINGS="default", BENCH_OUT=str(folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return common.read_result(folder / f"{name}.json")


def test_docs_show_what_was_measured() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(text) == text, "python -m benchmarks.report"


def test_docs_show_everything() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"<!-- measured: (\w+) -->", text) == ["targets", *SCRIPTS]
    prose = re.sub(r"<!-- measured: \w+ -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    assert re.findall(r"\d+(?:\.\d+)?(?:×| ?%| ?ms\b| ?MB\b| ?s\b| times)", prose) == []


def test_committed_results_are_full_runs() -> None:
    sizes = {path.name: json.loads(path.read_bytes())["size"] for path in common.RESULTS.glob("*.json")}
    assert set(sizes.values()) <= {"full"}


def test_no_side_compiles_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    for folder in ("ifttool/cli", "benchmarks"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "one.py").write_text("x = 1\n")
    processes.compile_sources()
    compiled = {path.parent.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("one.*.pyc")}
    assert compiled == {"ifttool/cli", "benchmarks"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs(name: str, tmp_path: Path) -> None:
    if name == "memory" and not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("reads /proc")
    found = bench(name, tmp_path, "--no-peers")
    assert (found["script"], found["size"]) == (name, "tiny")
    assert {"cores", "cpu", "load_before", "load_after"} <= found["machine"].keys()
    assert "ifttool" in found["versions"]
    for table in found["tables"]:
        assert table["rows"] or name == "memory"
        assert {len(row) for row in table["rows"]} <= {len(table["columns"])}


@pytest.mark.parity
@pytest.mark.skipif(not common.has("transformers", "datasets", "trl", "torch"), reason="needs the bench group")
def test_beside_the_others(tmp_path: Path) -> None:
    found = bench("end_to_end", tmp_path)
    table, timings = found["tables"]
    sides = {(row[0], row[1]) for row in table["rows"]}
    (kind,) = data.kinds(TINY)
    others = {"datasets.map", "TRL"}
    assert sides == {(name, side) for name in (kind, f"{kind}, large") for side in {"ifttool mask", *others}}
    assert {(row[0], row[1]) for row in timings["rows"]} == {(kind, side) for side in others}
    assert len(found["checks"]) == 2


def test_report_fills_blocks(tmp_path: Path) -> None:
    result = common.Result("startup", common.Options("full", 3, True, tmp_path))
    result.table("Title", ["side", "s"], [["a", 1.23456], ["b", 2]])
    result.check("a thing", limit=40, measured=41.3)
    result.check("another", limit=150, measured=151.0, at_least=False, unit="ms")
    result.write()
    page = "x\n<!-- measured: targets -->\nold\n<!-- end -->\n<!-- measured: startup -->\n<!-- end -->\ny"
    text = report.filled(page, tmp_path)
    assert "| a    | 1.23 |" in text
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["a thing", "≥ 40×", "41.3×", "met"] in cells
    assert ["another", "≤ 150 ms", "151 ms", "**not met**"] in cells
    assert text.count("**not met**") == 1
    assert "old" not in text
    assert text.startswith("x\n") and text.endswith("<!-- end -->\ny")
    assert report.filled(text, tmp_path) == text
    with pytest.raises(ValueError, match="no script nonesuch"):
        report.filled("<!-- measured: nonesuch -->\n<!-- end -->", tmp_path)


def test_trajectories_have_shapes_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(data, "CACHE", tmp_path)
    pool = agents.Pool.of(data.dataset("tools", TINY).rows())
    made = [agents.trajectory(pool, seed=seed, messages=50 + seed) for seed in range(30)]
    assert [len(row["messages"]) for row in made] == list(range(50, 80))
    assert made[3] == agents.trajectory(pool, seed=3, messages=53)
    shapes = {tuple(message["role"] for message in row["messages"]) for row in made}
    assert len(shapes) == len(made)
    for row in made:
        offered = {tool["function"]["name"] for tool in row["tools"]}
        calls = [call for message in row["messages"] for call in message.get("tool_calls", [])]
        results = [message["tool_call_id"] for message in row["messages"] if message["role"] == "tool"]
        assert {call["function"]["name"] for call in calls} == offered
        assert [call["id"] for call in calls] == results


def test_time_and_memory_of_the_whole_tree() -> None:
    child = "import time; start = time.process_time()\nwhile time.process_time() < start + 0.3: pass"
    memory = f"b = bytearray(80_000_000); import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    found = run([sys.executable, "-c", memory], sample_every=0.02 if Path("/proc/self/smaps_rollup").exists() else None)
    assert found.cpu >= 0.3
    assert found.wall >= 0.3
    assert max(sample.largest for sample in found.memory) > 80e6
    assert all(sample.largest <= sample.counted >= sample.tree for sample in found.memory)
    with pytest.raises(RuntimeError, match="ended with 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize(("words", "expected"), [("ifttool ma", "mask"), ("ifttool mask --tokenizer-", "")])
def test_completion_is_light(words: str, expected: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("typer") is None:
        pytest.skip("needs typer")
    code = (
        "import os, sys\n"
        f"os.environ.update(_IFTTOOL_COMPLETE='complete_bash', COMP_WORDS={words!r},"
        f" COMP_CWORD='{len(words.split()) - 1}')\n"
        "sys.argv = ['ifttool']\n"
        "from ifttool.cli.app import command_line\n"
        "try:\n    command_line()\nfinally:\n"
        "    assert {'pydantic', 'rich', 'pyarrow', 'jinja2', 'tokenizers'}.isdisjoint(sys.modules)\n"
    )
    assert run_python(code, cwd=tmp_path).strip() == expected
