"""How to pack."""

from dataclasses import asdict, dataclass
from typing import Any

from ifttool.errors import UsageError
from ifttool.packing.schema import LAYOUTS, Layout

# Packed columns count positions and lengths in 32 bits (int32 in their schema).
_MOST = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """How to pack.

    Attributes:
        length: What a pack holds, in tokens as the trainer counts them.
        layout: A key of :data:`LAYOUTS`.
        window: Pack every so many consecutive rows on their own; None for the whole split at once.
        seed: Decides which of equally long rows go where, and the order of packs.
        overlong: ``drop`` leaves rows out that no pack can hold and lists them, ``error`` refuses them.
        shards: Shards of each split (fewer where there are fewer packs); None for one for every 50 million tokens.

    Raises:
        UsageError: One of them can't be used.
    """

    length: int
    layout: str = "default"
    window: int | None = None
    seed: int = 0
    overlong: str = "drop"
    shards: int | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError(f"--layout can't be {self.layout!r}", hint=f"choose {_choice(*LAYOUTS)}")
        if self.overlong not in ("drop", "error"):
            raise UsageError(f"--overlong can't be {self.overlong!r}", hint="choose drop or error")
        for name, value, least, most in (
            ("length", self.length, 1, _MOST),
            ("window", self.window, 1, _MOST),
            ("seed", self.seed, 0, None),
            ("shards", self.shards, 1, _MOST),
        ):
            if value is not None and value < least:
                raise UsageError(f"--{name} can't be {value}", hint=f"give {least} or more")
            if value is not None and most is not None and value > most:
                raise UsageError(f"--{name} can't be {value}", hint=f"give {most} or less")

    @property
    def form(self) -> Layout:
        """What the layout's name stands for."""
        return LAYOUTS[self.layout]

    def as_json(self) -> dict[str, Any]:
        return {"algorithm": "best-fit-decreasing", **asdict(self)}


def _choice(*names: str) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
