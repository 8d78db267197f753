"""TRL's own preparation: the data set of an ``SFTTrainer`` with ``assistant_only_loss``, without any training."""

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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.output.parent) as cache:
        os.environ["HF_HOME"] = cache
        _prepare(given, Path(cache))


def _prepare(given: argparse.Namespace, folder: Path) -> None:
    import datasets  # noqa: PLC0415 - it reads HF_HOME when it is imported
    import transformers  # noqa: PLC0415
    import trl  # noqa: PLC0415

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(given.tokenizer)
    tokenizer.chat_template = given.template.read_text(encoding="utf-8")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    # The trainer wants a model; the smallest one that has these ids.
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    )
    rows = datasets.load_dataset("json", data_files=str(given.rows), split="train")
    config = trl.SFTConfig(
        output_dir=str(folder / "model"),
        assistant_only_loss=True,
        max_length=None,
        dataset_num_proc=min(given.processes, len(rows)),
        report_to="none",
        use_cpu=True,
        bf16=False,
    )
    trainer = trl.SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train_dataset.to_parquet(given.output)


if __name__ == "__main__":
    main()
