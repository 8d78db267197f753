"""How much there is to read, for decisions that are made before much else is imported."""

import stat
from collections.abc import Sequence
from pathlib import Path

# From here on the fast encoder of a large tokenizer is needed for certain.
_LARGE_BYTES = 4 << 20


def is_large(sources: Sequence[str]) -> bool:
    """Whether files are so large that the fast encoder of a tokenizer is needed for certain. Others count nothing."""
    return sum(map(_file_size, sources)) > _LARGE_BYTES


def _file_size(source: str) -> int:
    """Bytes of a regular file; 0 for anything else, also for what can't be a path."""
    try:
        status = Path(source).stat()
    except (OSError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
