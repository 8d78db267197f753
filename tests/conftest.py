"""Fixtures that several test modules share."""

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import TINY, Result, RunCli, jsonl
from ifttool.cli.app import app


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunCli]:
    """Run ``ifttool`` with arguments in this process: ``cli("mask", path, "-o", out, stdin=b"…")``."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        capfdbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stopped:
            app([str(argument) for argument in arguments])
        output = capfdbinary.readouterr()
        return Result(int(stopped.value.code or 0), output.out.decode(), output.err.decode())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A file that holds the tiny conversation."""
    path = tmp_path / "tiny.jsonl"
    path.write_bytes(jsonl(TINY))
    return path
