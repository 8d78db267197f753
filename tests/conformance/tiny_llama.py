"""A small random Llama, and the loss it must have: one conversation at a time, in float64, on trained tokens only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import default_tokenizer

TOLERANCE = 1e-4
"""Between a trainer's float32 loss of one batch and the reference."""
APART = 20 * TOLERANCE
"""What a wrong loss differs by at least. Leaks between conversations are the smallest: some 0.008 here."""
Row = Mapping[str, Sequence[int]]


def tiny_llama() -> LlamaForCausalLM:
    """The model, with the same weights at every call.

    Weights are 25 times as spread as usual: with the usual ones every token costs about ``log(vocabulary)``, so
    that a loss over wrong tokens would hardly differ.
    """
    torch.manual_seed(7)
    size = default_tokenizer().get_vocab_size()
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        initializer_range=0.5,
        max_position_embeddings=4096,
        attn_implementation="sdpa",
        dtype=torch.float32,
    )
    return LlamaForCausalLM(config)


def mean_loss(rows: Iterable[Row], *, every_token: bool = False) -> float:
    """Mean cross entropy over the tokens with ``loss_mask`` 1, or over ``every_token`` but each row's first.

    Written without ``labels``, without batches and without any loss of transformers: what it shares with the runs
    under test is the model alone.
    """
    model = tiny_llama().double().eval()
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor(row["input_ids"])
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0]
        chosen = torch.tensor([True] * len(ids)) if every_token else torch.tensor(row["loss_mask"]).bool()
        targets = chosen.nonzero().flatten()
        targets = targets[targets > 0]
        log_probabilities = torch.log_softmax(logits[targets - 1], dim=-1)
        total -= log_probabilities[torch.arange(len(targets)), ids[targets]].sum().item()
        count += len(targets)
    return total / count


def hub_tokenizer() -> Any:
    """Our default tokenizer as transformers' class; trainers take the padding token from it."""
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    return PreTrainedTokenizerFast(
        tokenizer_object=default_tokenizer(), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
