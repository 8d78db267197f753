"""What a reader saw, in one form for all of them: each conversation's ids with 1 at trained tokens."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Conversation = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids, and 1 or 0 for each of them, unshifted."""


def conversation(ids: Iterable[Any], mask: Iterable[Any]) -> Conversation:
    """One conversation of anything that holds numbers."""
    seen = tuple(int(token) for token in ids), tuple(int(bears_loss) for bears_loss in mask)
    assert len(seen[0]) == len(seen[1])
    return seen


def written(rows: Iterable[Mapping[str, Sequence[int]]]) -> Counter[Conversation]:
    """What we wrote. Packers reorder, so that only the multiset is comparable."""
    return Counter(conversation(row["input_ids"], row["loss_mask"]) for row in rows)


def labelled(ids: Iterable[Any], labels: Iterable[Any]) -> Conversation:
    """A conversation of labels that are -100 where nothing is trained; others must be the ids themselves."""
    ids, labels = [int(token) for token in ids], [int(label) for label in labels]
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
    return conversation(ids, [label != -100 for label in labels])
