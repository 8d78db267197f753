"""The wheel holds everything: it runs where the checkout can't be imported."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import ROOT, SAMPLES
from ifttool import __version__

INFO = f"ifttool-{__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from the source distribution, so that this one is complete as well."""
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = target.glob("ifttool-*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked; a pure wheel is installed just like that."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    templates = {f"ifttool/templates/{path.name}" for path in (ROOT / "templates").iterdir()}
    assert templates <= names
    assert {
        "ifttool/py.typed",
        "ifttool/tokenizer/default/tokenizer.json",
        "ifttool/tokenizer/default/tokenizer_config.json",
        f"{INFO}/entry_points.txt",
        f"{INFO}/licenses/LICENSE",
    } <= names
    modules = {f"ifttool/{path.relative_to(ROOT / 'ifttool').as_posix()}" for path in (ROOT / "ifttool").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert {name.split("/")[0] for name in names} == {"ifttool", INFO}


def test_main_job_from_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    # A pth file of an editable install comes after PYTHONPATH, so the wheel's package is the one that is found; the
    # program checks that it is, and that none of its modules come from elsewhere.
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ifttool.cli.app import command_line\n"
        "code = None\n"
        "try:\n"
        "    command_line()\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        "files = [Path(m.__file__) for n, m in sys.modules.items() if n.split('.')[0] == 'ifttool']\n"
        f"assert files and all(f.is_relative_to({str(unpacked)!r}) for f in files), files\n"
        "sys.exit(code)\n"
    )
    source = tmp_path / "chat.jsonl"
    source.write_bytes((SAMPLES / "chat.jsonl").read_bytes())
    for arguments in (["mask", "chat.jsonl", "-o", "out"], ["stats", "out"]):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "manifest.json").read_bytes())["samples"] == 11
