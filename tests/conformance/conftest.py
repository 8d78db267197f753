"""Fixtures of the conformance suite: shards of ours, and a small model that every trainer starts from."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

import ifttool
from conformance.conversations import conversations
from helpers import SAMPLES, jsonl, read_shards

HERE = Path(__file__).parent
PACK = 256
"""Tokens a pack holds: more than the longest conversation, much less than all."""


# No network, no reports to anyone, no cache but our own, one thread so that losses don't depend on the machine. Set
# while this module is imported: the packages of others read it when they are imported, by the tests, after this.
CACHE = TemporaryDirectory(prefix="ift-")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HOME=CACHE.name,
    CUDA_VISIBLE_DEVICES="",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",  # or it leaves a token in the home folder
    RAY_TMPDIR=CACHE.name,
    TOKENIZERS_PARALLELISM="false",
)
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings that packages of others give about themselves and each other are no failures of ours."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The inputs: sample files, and generated conversations of several turns."""
    generated = tmp_path_factory.mktemp("chats") / "generated.jsonl"
    generated.write_bytes(jsonl(*conversations(32)))
    return [SAMPLES / "chat.jsonl", SAMPLES / "multi_turn.jsonl", generated]


@pytest.fixture(scope="session")
def out(chats: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards as ``ifttool mask`` writes them by default."""
    folder = tmp_path_factory.mktemp("plain") / "out"
    assert ifttool.mask(chats, folder, workers=1).committed
    return folder


@pytest.fixture(scope="session")
def rows(out: Path) -> list[dict[str, Any]]:
    """What is in them, read without any of the tools under test."""
    return read_shards(out)


@pytest.fixture(scope="session")
def packed(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same conversations in packs."""
    folder = tmp_path_factory.mktemp("packed") / "out"
    ifttool.pack(out, folder, length=PACK)
    return folder
