"""``tokenizers.encode_batch_fast`` on text that is already rendered, and nothing else: one process, one thread."""

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers

_BATCH_CHARS = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, help="UTF-8, one behind the other; FILE.json says where each ends")
    parser.add_argument("--tokenizer", type=Path, required=True)
    given = parser.parse_args()
    tokenizer = tokenizers.Tokenizer.from_file(str(given.tokenizer / "tokenizer.json"))
    ends = json.loads(given.texts.with_suffix(".json").read_bytes())["texts"]
    data = given.texts.read_bytes()
    batch, chars = [], 0
    for low, high in pairwise(ends):
        text = data[low:high].decode()
        batch.append(text)
        chars += len(text)
        if chars >= _BATCH_CHARS:
            tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            batch, chars = [], 0
    tokenizer.encode_batch_fast(batch, add_special_tokens=False)


if __name__ == "__main__":
    main()
