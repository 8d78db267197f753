"""What an export wrote, counted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.samples import IntArray, MaskArray


@dataclass(slots=True)
class SplitFigures:
    """What one split came to.

    Attributes:
        rows: Samples (of ``messages``: conversations).
        tokens: Tokens; 0 where text is exported.
        trained_tokens: Training targets; 0 where they aren't exported.
        remarks: Anything that isn't as in the shards → how many samples or tokens.
    """

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    remarks: dict[str, int] = field(default_factory=dict)

    def count(self, ids: IntArray, mask: MaskArray, rows: int) -> None:
        """Add rows."""
        self.rows += rows
        self.tokens += len(ids)
        self.trained_tokens += int(mask.sum(dtype=np.int64))

    def remark(self, what: str, count: int) -> None:
        """Add to a remark; nothing if the count is 0."""
        if count:
            self.remarks[what] = self.remarks.get(what, 0) + count


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """The outcome of an export.

    Attributes:
        output: The folder.
        target: The name of the format.
        splits: What was written, by split.
    """

    output: Path
    target: str
    splits: Mapping[str, SplitFigures]

    def as_json(self) -> dict[str, Any]:
        return {
            "output": str(self.output),
            "to": self.target,
            "splits": {name: asdict(figures) for name, figures in self.splits.items()},
        }
