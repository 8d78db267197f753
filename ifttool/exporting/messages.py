"""Conversations as JSON lines, for trainers that render and tokenize by themselves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from ifttool.errors import InputChanged, UsageError
from ifttool.exporting.shard_set import ShardSet
from ifttool.exporting.summary import SplitFigures
from ifttool.io.input_digests import InputDigests
from ifttool.io.inputs import printable
from ifttool.io.shard_lengths import read_columns
from ifttool.io.source import read_rows
from ifttool.preparing.reading import read_conversation
from ifttool.preparing.unrolling import conversation_row, unrolled
from ifttool.recipe import Recipe
from ifttool.records import Conversation, RawRow
from ifttool.verification.originals import find_originals

CUT = "samples that were truncated in the shards and are whole here"
_WHOLE = -1  # stands for "no turn": the sample is the whole conversation


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which samples come from one input: 13 bytes a sample, sorted by line.

    Attributes:
        lines: Shape (samples,), int64.
        turns: Message that a sample was unrolled for, or -1; shape (samples,), int32.
        splits: Number of the split; shape (samples,), int8.
    """

    lines: npt.NDArray[np.int64]
    turns: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]


def write_messages(shards: ShardSet, out: Path, *, inputs: Sequence[str] | None = None) -> dict[str, SplitFigures]:
    """Write ``SPLIT.jsonl``: one row of ``id``, ``messages`` and ``tools`` for each sample, in input order.

    Shards hold no text, so the inputs are read again. Tool-call arguments stay as they were given.

    Args:
        shards: What to export.
        out: An empty folder.
        inputs: Folders, files or globs where the inputs are now; None for where they were.

    Returns:
        What was written, by split.

    Raises:
        UsageError: An input is gone, was a stream, or isn't what it was.
        InputChanged: An input changed while it was read.
    """
    figures = {split: SplitFigures() for split in shards.splits}
    wanted = _find_wanted(shards, list(figures.values()))
    found = _find_inputs(shards.manifest["input_files"], wanted, inputs)
    recipe = replace(Recipe.from_json(shards.manifest["recipe"]), tool_arguments="keep")
    encode = msgspec.json.Encoder().encode
    with InputDigests(found.values()) as digests, ExitStack() as stack:
        files: list[BinaryIO] = [stack.enter_context((out / f"{split}.jsonl").open("wb")) for split in figures]
        for source in shards.manifest["input_files"]:
            if source not in wanted:
                continue
            for split, conversation in _conversations(found[source], wanted[source], recipe):
                files[split].write(encode(conversation_row(conversation)) + b"\n")
                list(figures.values())[split].rows += 1
        read = digests.results()
    # What lay there when they were looked for isn't yet what was read.
    for source, path in found.items():
        sha256 = shards.manifest["input_files"][source]["sha256"]
        if sha256 is not None and read[path].sha256 != sha256:
            raise InputChanged(f"{printable(path)} changed while it was read", hint="make the shards again")
    return figures


def _find_wanted(shards: ShardSet, figures: Sequence[SplitFigures]) -> dict[str, _Wanted]:
    parts: dict[str, list[_Wanted]] = {}
    for split, files in enumerate(shards.splits.values()):
        for shard in files:
            for batch in read_columns(shard.sidecar, ("source", "line", "turn", "truncated")):
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                lines = columns["line"].to_numpy(zero_copy_only=False)
                turns = columns["turn"].fill_null(_WHOLE).to_numpy(zero_copy_only=False)
                names, codes = np.unique(columns["source"].to_numpy(zero_copy_only=False), return_inverse=True)
                figures[split].remark(CUT, int(columns["truncated"].to_numpy(zero_copy_only=False).sum()))
                for code, name in enumerate(names.tolist()):
                    own = codes == code
                    number = np.full(int(own.sum()), split, np.int8)
                    parts.setdefault(name, []).append(_Wanted(lines[own], turns[own], number))
    return {name: _sorted(some) for name, some in parts.items()}


def _sorted(parts: Sequence[_Wanted]) -> _Wanted:
    lines = np.concatenate([part.lines for part in parts])
    turns = np.concatenate([part.turns for part in parts])
    splits = np.concatenate([part.splits for part in parts])
    order = np.lexsort((turns, lines))
    return _Wanted(lines[order], turns[order], splits[order])


def _find_inputs(
    recorded: Mapping[str, Any], wanted: Mapping[str, _Wanted], places: Sequence[str] | None
) -> Mapping[str, str]:
    originals = find_originals({name: entry for name, entry in recorded.items() if name in wanted}, places)
    for name, reason in originals.missing.items():
        raise UsageError(
            f"the input {printable(name)} {reason}: shards hold no text, so it must be read again",
            hint="--inputs says where the same file is now; after a change, make the shards again",
        )
    return originals.found


def _conversations(path: str, wanted: _Wanted, recipe: Recipe) -> Iterator[tuple[int, Conversation]]:
    """The wanted samples of one input with the numbers of their splits, in input order."""
    position, total = 0, len(wanted.lines)
    for row in read_rows(path):
        if position == total:
            return
        if not isinstance(row, RawRow) or row.place.line != wanted.lines[position]:
            continue
        conversation = read_conversation(row, recipe)
        while position < total and wanted.lines[position] == row.place.line:
            yield int(wanted.splits[position]), _sample(conversation, int(wanted.turns[position]), recipe)
            position += 1
    if position < total:
        raise InputChanged(f"{printable(path)} has no row {wanted.lines[position]}, which a sample was made of")


def _sample(conversation: Conversation, turn: int, recipe: Recipe) -> Conversation:
    if turn == _WHOLE:
        return conversation
    return next(unrolled(conversation, [turn], final_only=not recipe.train_history))
