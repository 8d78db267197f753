"""Where each sample goes: into which split and how often. Counts on the way what the splits will hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ifttool.arranging.mixture import Weight
from ifttool.arranging.spec import TRAIN, VALIDATION, Arrangement
from ifttool.arranging.staged import Part

Route = npt.NDArray[np.int8]
"""For each sample of a part, how often it comes in the train split; -1 sends it to the validation split, once."""


@dataclass(slots=True)
class SplitSize:
    """What a split holds, or what one input gave to it.

    Attributes:
        rows: Samples.
        tokens: Tokens in them.
        trained_tokens: Training targets in them.
        longest: Tokens of the longest sample.
    """

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0

    def add(self, tokens: npt.NDArray[np.int64], trained: npt.NDArray[np.int64], copies: npt.NDArray[np.int64]) -> None:
        """Count samples, ``copies`` of each; all arrays have shape (samples,)."""
        self.rows += int(copies.sum())
        self.tokens += int((tokens * copies).sum())
        self.trained_tokens += int((trained * copies).sum())
        self.longest = max(self.longest, int((tokens * (copies > 0)).max(initial=0)))

    def as_json(self) -> dict[str, int]:
        """For the manifest."""
        return {"samples": self.rows, "tokens": self.tokens, "trained_tokens": self.trained_tokens}


@dataclass(slots=True)
class Routes:
    """Where the samples of a run go, one byte each, and what comes of it.

    Attributes:
        of_part: The route of each part, by its index.
        splits: What each split holds.
        sources: What each input gave to each split.
    """

    of_part: dict[int, Route] = field(default_factory=dict)
    splits: dict[str, SplitSize] = field(default_factory=dict)
    sources: dict[str, dict[int, SplitSize]] = field(default_factory=dict)

    def as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """For the manifest: each split, and in it each of the named inputs."""
        return {
            split: {
                **size.as_json(),
                "inputs": {names[source]: part.as_json() for source, part in self.sources[split].items()},
            }
            for split, size in self.splits.items()
        }


def route_parts(parts: Sequence[Part], arrangement: Arrangement, names: Sequence[str]) -> Routes:
    """Decide for every sample, by what its conversation says.

    Args:
        parts: The parts, in input order.
        arrangement: What decides.
        names: Names of the inputs.
    """
    routes = Routes(
        splits={name: SplitSize() for name in arrangement.splits},
        sources={name: {source: SplitSize() for source in range(len(names))} for name in arrangement.splits},
    )
    for part in parts:
        wanted = ("tokens", "trained_tokens", *(("conversation",) if arrangement.needs_keys else ()))
        taken: list[Route] = []
        for group in part.columns(*wanted):
            keys = group.get("conversation")
            if keys is None:
                route = np.ones(len(group["tokens"]), np.int8)
            else:
                weight = arrangement.weight_of(names[part.source])
                route = np.array([_route(bytes.fromhex(key), weight, arrangement) for key in keys], np.int8)
            taken.append(route)
            tokens, trained = np.array(group["tokens"], np.int64), np.array(group["trained_tokens"], np.int64)
            copies = {TRAIN: np.maximum(route, 0).astype(np.int64), VALIDATION: (route < 0).astype(np.int64)}
            for name in arrangement.splits:
                routes.splits[name].add(tokens, trained, copies[name])
                routes.sources[name][part.source].add(tokens, trained, copies[name])
        routes.of_part[part.index] = np.concatenate(taken) if taken else np.empty(0, np.int8)
    return routes


def _route(key: bytes, weight: Weight, arrangement: Arrangement) -> int:
    """Copies are for training: what is held out is held out once."""
    return -1 if arrangement.is_validation(key) else weight.copies_of(key, arrangement.seed)
