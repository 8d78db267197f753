"""Every command in docs/trainers.md runs, and every test it names is there."""

import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import ROOT, SAMPLES, RunCli

TEXT = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
LINE = re.compile(
    r"^\| (?P<trainer>[^|]+) \| `ifttool (?P<command>[^`]+)` \| .+ \| (?P<evidence>[^|]+) \|$", re.MULTILINE
)
LINES = [match.groupdict() for match in LINE.finditer(TEXT)]


class NoWriter:
    """Stands for ``streaming.MDSWriter``, which needs an extra."""

    def __init__(self, **_options: object) -> None:
        """Nothing is opened."""

    def __enter__(self) -> "NoWriter":
        return self

    def write(self, row: dict[str, object]) -> None:
        assert list(row) == ["turns"]

    def __exit__(self, *_error: object) -> None:
        """Nothing is closed."""


def test_every_line_of_the_table_is_found() -> None:
    table = TEXT.partition("\n## ")[0]
    assert len(LINES) == sum(line.startswith("| ") for line in table.splitlines()) - 1 == 19


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["trainer"])
def test_evidence_exists(line: dict[str, str]) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", line["evidence"])
    assert named or "read from source" in line["evidence"]
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the samples and nothing else."""
    folder = tmp_path_factory.mktemp("doc")
    (folder / "samples").symlink_to(SAMPLES)
    return folder


@pytest.mark.parametrize("command", list(dict.fromkeys(line["command"] for line in LINES)))
def test_commands_run(cli: RunCli, workplace: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(workplace)
    if "streaming" not in sys.modules:
        monkeypatch.setitem(sys.modules, "streaming", SimpleNamespace(MDSWriter=NoWriter))
    if not command.startswith("mask") and not Path("masked").exists():
        assert cli("mask", "samples/chat.jsonl", "-o", "masked", "-q").code == 0
    result = cli(*shlex.split(command), "--force")
    assert result.code == 0, result.err
    made = shlex.split(command)[shlex.split(command).index("-o") + 1]
    assert (Path(made) / "manifest.json").is_file()
