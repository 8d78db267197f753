"""Packages that read our shards and exports see exactly our conversations and exactly our trained tokens.

The modules that read, mask, shift and collate are the packages' own. A test says which others it replaces.
"""

from collections import Counter
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import load_from_disk

import ifttool
from conformance.conftest import PACK
from conformance.readers_at_hand import reader_packages
from conformance.runs import load_shards
from conformance.seen import Conversation, conversation, labelled, written
from conformance.tiny_llama import hub_tokenizer
from export_helpers import ONE_EOS
from helpers import read_shards

Rows = list[dict[str, Any]]


def test_megatron_bridge(out: Path, rows: Rows, tmp_path: Path) -> None:
    ifttool.pack(out, tmp_path / "out", length=PACK, layout="megatron-bridge")
    with reader_packages(
        bare=[
            "megatron.core",
            *(f"megatron.bridge{part}" for part in ("", ".data", ".data.datasets", ".data.packing")),
        ],
        stubs=["megatron.core.tokenizers", "megatron.bridge.training", "megatron.bridge.utils"],
    ):
        from megatron.bridge.data.packing.parquet import GPTSFTPackedParquetDataset  # noqa: PLC0415

        dataset = GPTSFTPackedParquetDataset(
            file_path=str(tmp_path / "out" / "data"),
            tokenizer=SimpleNamespace(eos_id=hub_tokenizer().eos_token_id),
            max_seq_length=PACK,
            prompt_template="{answer}",
            truncation_field="answer",
        )
        stored = [dataset[index] for index in range(len(dataset))]
        for index, pack in enumerate(stored):
            dataset.validate_row(index, pack["input_ids"], pack["loss_mask"], pack["seq_boundaries"][:-1])
        # The mask as other trainers want it, to see that the comparison could fail.
        unshifted = [{**pack, "loss_mask": [0, *pack["loss_mask"][:-1]]} for pack in stored]
        right, wrong = ([dataset.collate_fn([pack]) for pack in packs] for packs in (stored, unshifted))
    assert len(right) > 10
    assert Counter(seen for pack in right for seen in _bridge_conversations(pack)) == written(rows)
    assert Counter(seen for pack in wrong for seen in _bridge_conversations(pack)) != written(rows)


def _bridge_conversations(pack: dict[str, Any]) -> list[Conversation]:
    """Its inputs and labels are cut out of each sequence: all but the last token, and all but the first."""
    tokens, labels, mask = (pack[name][0].tolist() for name in ("tokens", "labels", "loss_mask"))
    ends = pack["cu_seqlens_q"][0].tolist()
    seen = []
    for start, end in pairwise(ends):
        if start >= pack["token_count"][0]:
            assert not any(mask[start:end]), "what fills a pack up bears no loss"
            break
        assert tokens[start + 1 : end] == labels[start : end - 1]
        seen.append(conversation([tokens[start], *labels[start:end]], [0, *mask[start:end]]))
    return seen


def test_axolotl(chats: list[Path], rows: Rows, tmp_path: Path) -> None:
    assert ifttool.mask(chats, tmp_path / "out", workers=1, layout="axolotl").committed
    dataset = load_shards(tmp_path / "out", tmp_path / "cache")
    with reader_packages(
        bare=["axolotl", "axolotl.utils", "axolotl.utils.collators", "axolotl.utils.data"],
        stubs=[
            *(f"axolotl.{name}" for name in ("datasets", "prompt_strategies", "prompt_tokenizers", "prompters")),
            *(f"axolotl.utils.{name}" for name in ("dict", "distributed", "logging", "samplers")),
        ],
    ):
        from axolotl.utils.collators.batching import V2BatchSamplerDataCollatorForSeq2Seq  # noqa: PLC0415
        from axolotl.utils.data.wrappers import _is_dataset_already_tokenized  # noqa: PLC0415
        from axolotl.utils.trainer import add_position_ids  # noqa: PLC0415

        assert _is_dataset_already_tokenized(dataset)
        # With sample_packing: four conversations to a pack, two packs to a batch.
        items = list(dataset.map(add_position_ids, batched=True))
        packs = [items[start : start + 4] for start in range(0, len(items), 4)]
        collate = V2BatchSamplerDataCollatorForSeq2Seq(tokenizer=hub_tokenizer())
        batches = [collate(packs[start : start + 2]) for start in range(0, len(packs), 2)]
    seen: Counter[Conversation] = Counter()
    for batch in batches:
        for pack in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            seen.update(_axolotl_conversations(*pack))
    assert seen == written(rows)


def _axolotl_conversations(ids: Any, labels: Any, segments: Any) -> list[Conversation]:
    """Its attention mask numbers the conversations of a pack from 1; 0 is padding."""
    assert (labels[segments == 0] == -100).all()
    return [labelled(ids[segments == number], labels[segments == number]) for number in range(1, segments.max() + 1)]


def test_llm_foundry(out: Path, rows: Rows, tmp_path: Path) -> None:
    with reader_packages(
        bare=["llmfoundry", "llmfoundry.data", "llmfoundry.data.finetuning", "llmfoundry.utils"],
        # Compression and clouds: nothing here is compressed or away.
        stubs=["PIL", "boto3", "botocore", "brotli", "snappy", "zstd"]
        + [f"streaming.{kind}" for kind in ("multimodal", "text", "vision")],
    ):
        ifttool.export(out, tmp_path / "out", to="mds")
        from llmfoundry.data.finetuning.collator import Seq2SeqFinetuningCollator  # noqa: PLC0415
        from streaming import LocalDataset  # noqa: PLC0415

        collate = Seq2SeqFinetuningCollator(
            hub_tokenizer(),
            max_seq_len=PACK,
            decoder_only_format=True,
            target_prompts="none",
            target_responses="all",
        )
        dataset = LocalDataset(str(tmp_path / "out" / "train"))
        batches = [collate([dataset[index]]) for index in range(len(dataset))]
    seen = [
        labelled(batch["input_ids"][batch["attention_mask"].bool()], batch["labels"][batch["attention_mask"].bool()])
        for batch in batches
    ]
    assert seen == [_up_to_the_last_target(row) for row in rows]


def _up_to_the_last_target(row: dict[str, Any]) -> Conversation:
    """The format ends with a target; ChatML's line break behind the last turn bears no loss."""
    end = len(row["loss_mask"]) - row["loss_mask"][::-1].index(1)
    return conversation(row["input_ids"][:end], row["loss_mask"][:end])


@pytest.mark.parametrize("boundaries", ["listed", "by-eos"])
def test_olmo_core(chats: list[Path], tmp_path: Path, boundaries: str) -> None:
    # By default OLMo-core ends a document at every EOS token, so that a conversation must have one, at its end.
    template = tmp_path / "template.jinja"
    template.write_text(ONE_EOS, encoding="utf-8")
    options = {"template": str(template)} if boundaries == "by-eos" else {}
    assert ifttool.mask(chats, tmp_path / "out", workers=1, **options).committed
    ifttool.export(tmp_path / "out", tmp_path / "olmo", to="olmo-core", eos_anywhere=boundaries == "listed")
    wanted = written(read_shards(tmp_path / "out"))
    packs = _olmo_packs(tmp_path / "olmo" / "train", tmp_path / "work", listed=boundaries == "listed")
    assert len(packs) > 10
    assert _with_targets(packs) == wanted
    if boundaries == "listed":
        assert _with_targets(_olmo_packs(tmp_path / "olmo" / "train", tmp_path / "other", listed=False)) != wanted


def _olmo_packs(folder: Path, work: Path, *, listed: bool) -> list[list[Conversation]]:
    """What OLMo-core trains on, pack by pack: its labels are shifted over the whole pack."""
    with reader_packages(stubs=["boto3", "botocore", "google"]):  # clouds
        from olmo_core.data import NumpyPackedFSLDataset  # noqa: PLC0415
        from olmo_core.data.utils import get_labels  # noqa: PLC0415

        tokenizer = hub_tokenizer()
        dataset = NumpyPackedFSLDataset(
            *sorted(folder.glob("token_ids_part_*.npy")),
            label_mask_paths=sorted(folder.glob("labels_mask_*.npy")),
            sequence_length=PACK,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            vocab_size=len(tokenizer),
            generate_doc_lengths=True,
            use_array_if_local=False if listed else None,
        )
        dataset.work_dir = work
        dataset.prepare()
        packs = [dataset[index] for index in range(len(dataset))]
        labels = [get_labels({name: pack[name][None] for name in ("input_ids", "label_mask")})[0] for pack in packs]
    seen = []
    for pack, shifted in zip(packs, labels, strict=True):
        targets = [-100, *shifted.tolist()[:-1]]
        ends = [0, *accumulate(pack["doc_lens"].tolist())]
        seen.append([labelled(pack["input_ids"][i:j], targets[i:j]) for i, j in pairwise(ends)])
    return seen


def _with_targets(packs: list[list[Conversation]]) -> Counter[Conversation]:
    """What fills a pack up is a document without a target."""
    return Counter(seen for pack in packs for seen in pack if any(seen[1]))


def test_megatron_core(out: Path, rows: Rows, tmp_path: Path) -> None:
    """Ids alone: the format has no loss mask."""
    ifttool.export(out, tmp_path / "out", to="megatron-bin", drop_loss_mask=True)
    with reader_packages():
        from megatron.core.datasets.indexed_dataset import IndexedDataset  # noqa: PLC0415

        dataset = IndexedDataset(str(tmp_path / "out" / "train"))
        assert [sequence.tolist() for sequence in dataset[0 : len(rows)]] == [row["input_ids"] for row in rows]
        assert len(dataset) == len(dataset.document_indices) - 1 == len(rows)


@pytest.mark.parametrize("lengths", [False, True])
def test_load_from_disk(out: Path, rows: Rows, tmp_path: Path, lengths: bool) -> None:
    ifttool.export(out, tmp_path / "out", to="hf-disk", lengths=lengths)
    dataset = load_from_disk(str(tmp_path / "out"))["train"]
    assert dataset.column_names == ["input_ids", "attention_mask", "labels", *(["length", "lengths"] * lengths)]
    assert [labelled(row["input_ids"], row["labels"]) for row in dataset] == [
        conversation(row["input_ids"], row["loss_mask"]) for row in rows
    ]
    assert all(row["attention_mask"] == [1] * len(row["input_ids"]) for row in dataset)
    if lengths:
        assert list(dataset["length"]) == [len(row["input_ids"]) for row in rows]
    # Copies are cast to the types that the folder declares.
    dataset.save_to_disk(str(tmp_path / "copy"))
    assert load_from_disk(str(tmp_path / "copy"))["labels"][:] == [row["labels"] for row in rows]
