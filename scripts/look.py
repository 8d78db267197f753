"""Show the first samples of a shard as text, with `^` under the characters that bear loss.

Usage: python scripts/look.py OUT [SAMPLES]
"""

import sys
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Tokenizer


def main(folder: Path, wanted: int) -> None:
    shard = next(iter(sorted((folder / "data").glob("*.parquet"))))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    rows = pq.read_table(shard).slice(0, wanted).to_pylist()
    sidecar = pq.read_table(folder / "provenance" / shard.name).slice(0, wanted).to_pylist()
    out = sys.stdout
    for row, origin in zip(rows, sidecar, strict=True):
        ids, mask = row["input_ids"], row["loss_mask"]
        out.write(f"{origin['source']}:{origin['line']}  {len(ids)} tokens, {sum(mask)} trained (^)\n\n")
        for line in _marked(tokenizer, ids, mask):
            out.write(f"    {line}\n" if line else "\n")
        out.write("\n")


def _marked(tokenizer: Tokenizer, ids: list[int], mask: list[int]) -> Iterator[str]:
    """Lines of the decoded text; a line with trained characters is followed by its marks."""
    text, marks = "", ""
    for trained, group in groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1]):
        part = tokenizer.decode([token for token, _ in group], skip_special_tokens=False)
        text += part
        marks += "".join("\n" if char == "\n" else ("^" if trained else " ") * _width(char) for char in part)
    lines = zip(text.removesuffix("\n").split("\n"), marks.removesuffix("\n").split("\n"), strict=True)
    for line, under in lines:
        yield line
        if under.strip():
            yield under.rstrip()


def _width(char: str) -> int:
    """Columns that a terminal gives a character."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
