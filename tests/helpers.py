"""What several test modules share: a conversation small enough to check by hand, and readers of outputs."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from ifttool.io.json_structure import KeyCounter
from ifttool.records import Place, RawRow

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
TINY = {
    "id": "tiny",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ],
}
"""Two assistant turns; ChatML renders both the same as history and as a final turn."""


def jsonl(*rows: Any) -> bytes:
    """Rows as JSON lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def chat(*contents: str, **extra: Any) -> dict[str, Any]:
    """A conversation whose user and assistant take turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return {"messages": messages, **extra}


def raw_row(item: Any, line: int = 1) -> RawRow:
    """A row as a reader gives it, from its bytes or what they decode to."""
    data = item if isinstance(item, bytes) else json.dumps(item).encode()
    keys, heads = KeyCounter().count(data + b"\n")
    return RawRow(Place("test", line, 0, len(data)), data, most_keys=keys[0], role_heads=heads[0])


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


RunCli = Callable[..., Result]


def environment(**extra: str) -> dict[str, str]:
    """The environment of a subprocess that imports this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **extra}


def command(*arguments: object) -> list[str]:
    """``ifttool`` as a subprocess."""
    return [sys.executable, "-P", "-m", "ifttool", *map(str, arguments)]


def run_python(code: str, *, cwd: Path, **variables: str) -> str:
    """Run a program in a fresh interpreter, with more environment variables; gives its output."""
    env = environment(**variables)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_shards(folder: Path) -> list[dict[str, Any]]:
    """All samples of an output folder, in order."""
    return [row for path in sorted((folder / "data").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def read_provenance(folder: Path) -> list[dict[str, Any]]:
    """The sidecar rows of an output folder, in order."""
    paths = sorted((folder / "provenance").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an output folder."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return manifest


def content_digests(folder: Path) -> list[str]:
    """Digests of ids, masks and row lengths, shard by shard."""
    return [shard["content_sha256"] for shard in read_manifest(folder)["shards"]]


def default_tokenizer() -> Tokenizer:
    """The tokenizer in the package."""
    return Tokenizer.from_file(str(ROOT / "ifttool" / "tokenizer" / "default" / "tokenizer.json"))


def text_of(ids: Sequence[int]) -> str:
    """Ids of the default tokenizer as text."""
    text: str = default_tokenizer().decode(list(ids), skip_special_tokens=False)
    return text


def trained_texts(row: dict[str, Any]) -> list[str]:
    """Text of each run of trained tokens of a sample."""
    runs: list[list[int]] = []
    previous = 0
    for token, bears_loss in zip(row["input_ids"], row["loss_mask"], strict=True):
        if bears_loss and not previous:
            runs.append([])
        if bears_loss:
            runs[-1].append(token)
        previous = bears_loss
    return [text_of(run) for run in runs]


def edit_manifest(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of an output."""
    manifest = read_manifest(out)
    change(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


def sign(out: Path, path: str) -> None:
    """Make the manifest agree with the bytes of a file, as somebody who forges would."""
    digest, size = hashlib.sha256((out / path).read_bytes()).hexdigest(), (out / path).stat().st_size

    def change(manifest: dict[str, Any]) -> None:
        manifest["files"] = {name: digest if name == path else old for name, old in manifest["files"].items()}
        for shard in manifest["shards"]:
            if shard["path"] == path:
                shard["sha256"], shard["bytes"] = digest, size

    edit_manifest(out, change)


def rewrite(path: Path, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """Change values of a Parquet file, column by column."""
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.Table.from_pydict(columns, schema=table.schema), path)
