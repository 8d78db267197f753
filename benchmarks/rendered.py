"""Texts that are already rendered, for sides that only encode."""

import json
from itertools import accumulate
from pathlib import Path

import ifttool
from benchmarks.common import Options
from benchmarks.data import CACHE, Dataset, own_template, tokenizer


def texts_of(rows: Dataset, options: Options) -> Path:
    """The rendered text of every row, UTF-8, one behind the other; made once.

    ``FILE.json`` beside it holds where each row of the data and each text begins, and the ends.
    """
    path = CACHE / f"{rows.name}.{tokenizer(options).name}.texts"
    bounds = path.with_suffix(".json")
    if not bounds.exists():
        named = own_template(options)
        template = named[1] if named else None
        found = ifttool.render(str(rows.path), template=template, tokenizer=str(tokenizer(options)), date="2026-01-15")
        sizes = []
        with path.open("wb") as file:
            for row in found:
                text = row["text"].encode()
                file.write(text)
                sizes.append(len(text))
        with rows.path.open("rb") as file:
            lines = [len(line) for line in file]
        if len(lines) != len(sizes):
            raise RuntimeError(f"{len(lines)} rows of {rows.name}, but {len(sizes)} texts")
        ends = {"rows": list(accumulate(lines, initial=0)), "texts": list(accumulate(sizes, initial=0))}
        bounds.write_text(json.dumps(ends), encoding="utf-8")
    return path
