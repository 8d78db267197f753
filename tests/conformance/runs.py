"""One training step with TRL's and transformers' trainers; what comes back is the loss that they report."""

from pathlib import Path
from typing import Any

from datasets import load_dataset
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from conformance.tiny_llama import hub_tokenizer, tiny_llama

# Where a run differs from what a user would write: no accelerator, no files, no reports, one step, every loss logged.
ONE_STEP: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "max_steps": 1,
    "logging_steps": 1,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}


def load_shards(folder: Path, cache: Path, **options: Any) -> Any:
    """The training split of an output folder, as the docs tell users to load it."""
    return load_dataset(str(folder), split="train", cache_dir=str(cache), **options)


def trl_loss(dataset: Any, scratch: Path, *, batch: int, **options: Any) -> float:
    """Loss of step 1 of ``SFTTrainer``."""
    arguments = SFTConfig(output_dir=str(scratch), per_device_train_batch_size=batch, **ONE_STEP, **options)
    trainer = SFTTrainer(model=tiny_llama(), args=arguments, train_dataset=dataset, processing_class=hub_tokenizer())
    return _loss(trainer)


def trainer_loss(dataset: Any, scratch: Path, *, collator: Any, batch: int, accumulate: int = 1) -> float:
    """Loss of step 1 of ``transformers.Trainer``."""
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        **ONE_STEP,
    )
    return _loss(Trainer(model=tiny_llama(), args=arguments, data_collator=collator, train_dataset=dataset))


def _loss(trainer: Any) -> float:
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 1
    return float(losses[0])
