"""What public functions take: inputs, callbacks, and options that several of them share."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, TypedDict

from ifttool.errors import RowError
from ifttool.ledger import Tally
from ifttool.records import Place

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
MixedInputs = Inputs | Mapping[str, int | float | str]
"""Inputs, or each of them with its weight: ``{"chat.jsonl": 0.5, "code.jsonl": "1000rows"}``."""
OnReject = Callable[[Place, bytes | None, RowError, str], None]
"""Called for every row that is left out: place, bytes (None if over-long), reason, ``rejected`` or ``dropped``."""
OnProgress = Callable[[Tally, int], None]
"""Called now and then with the counts so far and the bytes of input they cover."""


class ConversationOptions(TypedDict, total=False):
    """How rows become conversations."""

    input_format: str
    tool_arguments: str


class TemplateOptions(ConversationOptions, total=False):
    """How conversations become text. ``template_kwargs`` is a mapping here, not JSON text."""

    template: str | None
    template_name: str | None
    template_kwargs: Mapping[str, Any]
    tokenizer: str
    date: str | None


class ArrangeOptions(TypedDict, total=False):
    """Which conversations, in which split, in which order; see :class:`ifttool.arranging.spec.Arrangement`."""

    validation: float | None
    shuffle: int | None
    shards: int | None
    shard_tokens: int | None
    dedup: str
    seed: int


class WriteOptions(ArrangeOptions, total=False):
    """How shards are written. ``stdin`` is what ``-`` reads; ``depfile`` takes the inputs as a Makefile rule;
    ``resume`` finishes a run that was interrupted."""

    format: str
    columns: str | Sequence[str] | None
    layout: str | None
    force: bool
    max_rejects: int | str
    stdin: BinaryIO | None
    on_progress: OnProgress | None
    workers: int | None
    depfile: str | os.PathLike[str] | None
    resume: bool


class ShardOptions(TemplateOptions, WriteOptions, total=False):
    """How conversations become shards."""

    max_length: int | None
    overflow: str
    content_specials: str
    allow_text_markers: bool
    backend: str
    verify: str


class MaskOptions(ShardOptions, total=False):
    """What bears loss; see :class:`ifttool.recipe.Recipe`. ``turn_tokens`` is a pair here, not ``MIN:MAX``."""

    train_on: str
    train_reasoning: bool
    train_tool_calls: bool
    train_end_of_turn: bool
    turn_tokens: tuple[int | None, int | None]
    append_eos: bool
    spans: str
    on_mismatch: str
    unroll: str
    boundary: str
