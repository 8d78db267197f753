"""The process around a command: standard streams that are closed or full, signals at odd moments, a quick end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import SAMPLES, command, environment

CHATS = str(SAMPLES / "chat.jsonl")


def in_shell(line: str, folder: Path) -> tuple[int, str]:
    """Run ``ifttool`` with redirections; gives the exit code and what it said on a standard error that is open."""
    words = " ".join(command())
    env = environment()
    env.pop("PYTHONWARNINGS", None)
    done = subprocess.run(
        ["bash", "-c", line.replace("ifttool", words)],
        cwd=folder,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def in_process(code: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a program that ends in the command line; gives its exit code and what it wrote."""
    program = (
        "import os, signal, sys\n"
        # Shells start what runs in the background with SIGINT ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{code}\n"
        "from ifttool.cli.start import main\n"
        "main()\n"
    )
    words = [sys.executable, "-P", "-c", program, *arguments]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"ifttool mask {CHATS} -o out --quiet >&-", 0, ""),
        (f"ifttool mask {CHATS} -o out 2>&-", 0, ""),
        (f"ifttool mask {CHATS} -o out >&- 2>&- <&-", 0, ""),
        (f"ifttool mask {CHATS} -o out 2>/dev/full", 0, ""),
        ("ifttool mask - -o out <&-", 3, "ifttool: error: can't read -: Bad file descriptor\n"),
        (f"ifttool render {CHATS} -o - >&-", 3, "ifttool: error: I/O: Bad file descriptor\n"),
        (f"ifttool render {CHATS} -o - --quiet >/dev/full", 3, "ifttool: error: I/O: No space left on device\n"),
        ("ifttool --help >/dev/full", 3, "ifttool: error: I/O: No space left on device\n"),
        ("ifttool --help >&-", 3, "ifttool: error: I/O: Bad file descriptor\n"),
    ],
)
def test_streams_that_are_closed_or_full(line: str, code: int, said: str, tmp_path: Path) -> None:
    assert in_shell(line, tmp_path) == (code, said)
    if code == 0:
        # Had a file been opened under the number of a closed stream, messages would stand in it.
        assert in_shell("ifttool verify out --quiet", tmp_path) == (0, "")
    else:
        assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("handler", "code"), [("default_int_handler", 130), ("SIG_IGN", 0)])
def test_ctrl_c_while_the_command_line_is_imported(handler: str, code: int, tmp_path: Path) -> None:
    program = (
        f"signal.signal(signal.SIGINT, signal.{handler})\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)"
    )
    said = "ifttool: interrupted\n" if code else ""
    assert in_process(program, tmp_path, "mask", CHATS, "-o", "out", "--quiet") == (code, "", said)
    assert (tmp_path / "out").exists() == (code == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_late_once_the_outcome_is_said(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "leave = os._exit\n"
        "def signalled(code):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    os.write(1, b'signalled')\n"
        "    leave(code)\n"
        "os._exit = signalled"
    )
    assert in_process(code, tmp_path, "mask", CHATS, "-o", "out", "--quiet") == (0, "signalled", "")
    assert (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_while_an_error_is_said(number: signal.Signals, code: int, tmp_path: Path) -> None:
    program = (
        "from ifttool.cli import run\n"
        "def signalled(*arguments):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "run.report_error = signalled"
    )
    assert in_process(program, tmp_path, "mask", "nope.jsonl", "-o", "out") == (code, "", "")


def test_a_reader_of_the_help_that_goes_away(tmp_path: Path) -> None:
    assert in_shell("ifttool mask --help | true; exit ${PIPESTATUS[0]}", tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [("KeyboardInterrupt", 130, "interrupted"), ("run._on_sigterm(15, None)", 143, "terminated")],
)
def test_signals_while_a_class_is_made(raised: str, code: int, said: str, tmp_path: Path) -> None:
    program = (
        "from ifttool.cli import run\n"
        "class Attribute:\n"
        "    def __set_name__(self, owner, name):\n"
        f"        raise {raised}\n"
        "def interrupted(*arguments, **options):\n"
        "    type('Made', (), {'attribute': Attribute()})\n"
        "import ifttool.worker\n"
        "ifttool.worker.build_template = interrupted"
    )
    assert in_process(program, tmp_path, "mask", CHATS, "-o", "out") == (code, "", f"ifttool: {said}\n")


def test_interrupted_while_a_thread_works(tmp_path: Path) -> None:
    # What loads the fast encoder can't be stopped, and takes a second.
    program = (
        "import threading, time\n"
        "import ifttool.worker\n"
        "def interrupted(*arguments, **options):\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    raise KeyboardInterrupt\n"
        "ifttool.worker.build_template = interrupted"
    )
    words = ("mask", CHATS, "-o", "out")
    assert in_process(program, tmp_path, *words) == (130, "", "ifttool: interrupted\n")
    assert [*tmp_path.iterdir()] == []
