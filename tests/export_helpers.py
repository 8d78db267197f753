"""Shards to export, and what is in them."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import ifttool
from helpers import SAMPLES

CHATS = [SAMPLES / "chat.jsonl", SAMPLES / "multi_turn.jsonl"]

ONE_EOS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{{ eos_token if loop.last else '<|endoftext|>' }}{% endfor %}"
)
"""A template with one EOS token (``<|im_end|>``), at its end."""

Pair = tuple[list[int], list[int]]
"""Token ids of a sample, and its labels."""


def make_shards(folder: Path, **options: Any) -> Path:
    """Shards of two sample files with a validation split."""
    template = folder.with_suffix(".jinja")
    template.write_text(ONE_EOS, encoding="utf-8")
    assert ifttool.mask(
        CHATS, folder, **{"template": str(template), "validation": 0.3, "workers": 1, **options}
    ).committed
    return folder


def samples_by_split(folder: Path) -> dict[str, list[Pair]]:
    """What the shards of a folder hold, in order."""
    found: dict[str, list[Pair]] = {}
    for path in sorted((folder / "data").iterdir()):
        for row in pq.read_table(path).to_pylist():
            found.setdefault(path.name.partition("-")[0], []).append((row["input_ids"], row["labels"]))
    return found


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
