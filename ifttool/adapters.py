"""Rows of finished shards as the items of trainers that take a dataset of one's own instead of files.

``labels`` of shards aren't shifted: ``labels[t]`` says whether ``input_ids[t]`` is a target. Who shifts differs: NeMo
Automodel, torchtitan and torchtune after 0.6 want it done by the dataset, all others do it themselves. Each trainer is
imported when an adapter of its is used, never when this module is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ifttool.errors import UsageError

IGNORE_LABEL = -100

# What packs have beside tokens and targets; which of them depends on the layout.
_OF_PACKS = ("seq_lengths", "seq_start_id", "position_ids")

Row = Mapping[str, Any]
"""A row of a shard with ``input_ids``, and ``labels`` or ``loss_mask``."""

DataFiles = str | Sequence[str] | Mapping[str, str | Sequence[str]]
"""What ``datasets.load_dataset("parquet", data_files=…)`` takes."""


def row_labels(row: Row) -> list[int]:
    """Labels of a row, unshifted: its ``labels``, else what its ``loss_mask`` says; as long as ``input_ids``.

    Raises:
        UsageError: It has neither, or the one it has isn't as long as ``input_ids``.
    """
    name = next((name for name in ("labels", "loss_mask") if row.get(name) is not None), None)
    if name is None:
        raise UsageError("the row has neither labels nor loss_mask", hint="make shards with mask")
    ids, targets = row["input_ids"], list(row[name])
    if len(targets) != len(ids):
        raise UsageError(f"the row has {len(ids)} input_ids and {len(targets)} {name}", hint="make its shard again")
    if name == "labels":
        return targets
    return [token if is_target else IGNORE_LABEL for token, is_target in zip(ids, targets, strict=True)]


def next_token_labels(row: Row) -> list[int]:
    """Labels shifted to the left, the last -100: ``result[t]`` is the target that is predicted from token ``t``."""
    return [*row_labels(row)[1:], IGNORE_LABEL]


def torchtune_sample(row: Row, *, shifted: bool = False) -> dict[str, list[int]]:
    """``tokens`` and ``labels`` of torchtune.

    Args:
        row: A row of a shard.
        shifted: Whether the recipe wants labels that are shifted already. Those of torchtune 0.6.1, its last release,
            shift by themselves (recipes/full_finetune_distributed.py); those on its main branch don't.
    """
    labels = next_token_labels(row) if shifted else row_labels(row)
    return {"tokens": list(row["input_ids"]), "labels": labels}


def torchtune_dataset(
    tokenizer: Any = None, *, data_files: DataFiles, split: str = "train", shifted: bool = False
) -> "_Dataset":
    """A dataset component of torchtune: ``dataset: {_component_: ifttool.adapters.torchtune_dataset, data_files: …}``.

    Args:
        tokenizer: What recipes pass; shards are tokenized already.
        data_files: Parquet files or globs.
        split: Which one, if ``data_files`` is a mapping.
        shifted: See :func:`torchtune_sample`.
    """
    del tokenizer
    return _Dataset(_load(data_files, split), lambda row: torchtune_sample(row, shifted=shifted))


def automodel_sample(row: Row) -> dict[str, list[int]]:
    """``input_ids``, shifted ``labels`` and ``attention_mask`` of NeMo Automodel (0.7.0), whose losses don't shift."""
    ids = list(row["input_ids"])
    return {"input_ids": ids, "labels": next_token_labels(row), "attention_mask": [1] * len(ids)}


def automodel_dataset(data_files: DataFiles, *, split: str = "train", tokenizer: Any = None) -> "_Dataset":
    """A dataset of NeMo Automodel: ``dataset: {_target_: ifttool.adapters.automodel_dataset, data_files: …}``.

    Raises:
        UsageError: The shards are packed: its items don't say where a sample ends, so attention would cross over.
    """
    del tokenizer
    rows = _load(data_files, split)
    packed = next((name for name in _OF_PACKS if name in rows.column_names), None)
    if packed is not None:
        raise UsageError(
            f"the shards are packed (they have {packed}), and automodel_dataset would make one sample of each pack",
            hint="name the shards that mask wrote, and let the trainer pack",
        )
    return _Dataset(rows, automodel_sample)


def torchtitan_sequence(row: Row) -> Any:
    """A ``TextSequence`` of torchtitan: all tokens but the last, and for each of them the next one or -100.

    For the ``__call__`` of a ``SampleProcessor``; needs a torchtitan that has ``torchtitan.components.data``.
    """
    import numpy as np  # noqa: PLC0415
    from torchtitan.components.data import TextSequence  # noqa: PLC0415

    return TextSequence(
        input_ids=np.asarray(row["input_ids"][:-1], np.int64), labels=np.asarray(row_labels(row)[1:], np.int64)
    )


def litgpt_sample(row: Row) -> dict[str, Any]:
    """``input_ids`` and ``labels`` as tensors, and ``token_counts``: an item of a litgpt ``DataModule`` (0.5.13).

    ``litgpt.data.base.get_sft_collate_fn`` collates such items; the trainer shifts.
    """
    import torch  # noqa: PLC0415

    ids = torch.tensor(row["input_ids"], dtype=torch.int64)
    return {
        "input_ids": ids,
        "labels": torch.tensor(row_labels(row), dtype=torch.int64),
        "token_counts": {"raw": len(ids), "raw_plus_prompt_template": len(ids)},
    }


class VerlDataset:
    """Dataset of verl's SFT trainer (0.9.1): ``data.custom_cls.path=pkg://ifttool.adapters``, ``.name=VerlDataset``.

    Items are ``input_ids``, ``position_ids`` and unshifted ``loss_mask``, each int64 of shape (tokens,): what the
    trainer wants with ``data.pad_mode=no_padding``, its default. Its loss shifts.

    Args:
        parquet_files: Shards.
        tokenizer: Unused: shards are tokenized already.
        config: ``data`` of the trainer's configuration; ``pad_mode`` and ``max_length`` are read.
        processor: Unused.
        max_samples: Only the first so many rows; -1 for all.

    Raises:
        UsageError: ``pad_mode`` is another.
    """

    def __init__(
        self, parquet_files: DataFiles, tokenizer: Any, config: Any, processor: Any = None, max_samples: int = -1
    ) -> None:
        del tokenizer, processor
        config = config or {}
        if config.get("pad_mode", "no_padding") != "no_padding":
            raise UsageError(f"VerlDataset can't pad: pad_mode is {config['pad_mode']}", hint="set no_padding")
        self._max_length = config.get("max_length", 1024)
        rows = _load(parquet_files, "train")
        self._rows = rows if max_samples < 0 else rows.select(range(min(max_samples, len(rows))))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import torch  # noqa: PLC0415

        row = self._rows[index]
        length = len(row["input_ids"])
        if length > self._max_length:
            raise UsageError(
                f"row {index} has {length} tokens, data.max_length is {self._max_length}",
                hint="make the shards with --max-length, or raise data.max_length",
            )
        mask = [int(label != IGNORE_LABEL) for label in row_labels(row)]
        return {
            "input_ids": torch.tensor(row["input_ids"], dtype=torch.int64),
            "position_ids": torch.arange(length, dtype=torch.int64),
            "loss_mask": torch.tensor(mask, dtype=torch.int64),
        }


class _Dataset:
    """Rows by number, each through a function. What torch calls a map-style dataset."""

    def __init__(self, rows: Any, adapt: Any) -> None:
        self._rows, self._adapt = rows, adapt

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = self._adapt(self._rows[index])
        return item


def _load(data_files: DataFiles, split: str) -> Any:
    from datasets import load_dataset  # noqa: PLC0415 - the trainers that come here depend on it

    plain = data_files if isinstance(data_files, str | Mapping) else list(data_files)
    return load_dataset("parquet", data_files=plain, split=split)
