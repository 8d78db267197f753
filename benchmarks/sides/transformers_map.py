"""``datasets.map`` + ``apply_chat_template`` with assistant masks, as most people prepare data today."""

import argparse
import os
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--batched", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.output.parent) as cache:
        # Else a second run would find the result of the first.
        os.environ["HF_HOME"] = cache
        _prepare(given)


def _prepare(given: argparse.Namespace) -> None:
    import datasets  # noqa: PLC0415 - it reads HF_HOME when it is imported
    import transformers  # noqa: PLC0415

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(given.tokenizer)
    tokenizer.chat_template = given.template.read_text(encoding="utf-8")
    rows = datasets.load_dataset("json", data_files=str(given.rows), split="train")
    offered = "tools" in rows.column_names

    def tokenize(row: dict) -> dict:
        return dict(
            tokenizer.apply_chat_template(
                row["messages"],
                tools=row["tools"] if offered else None,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
        )

    processes = min(given.processes, len(rows))
    done = rows.map(tokenize, batched=given.batched, num_proc=processes, remove_columns=rows.column_names)
    done.to_parquet(given.output)
    if not any(map(any, done.select(range(min(20, len(done))))["assistant_masks"])):
        raise SystemExit("the masks are all zero: this measured nothing")


if __name__ == "__main__":
    main()
