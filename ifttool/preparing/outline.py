"""A sample put together from segments: enough to encode it and to find its mask, and no more."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from ifttool.errors import RowError
from ifttool.preparing.policy import WORST_FIRST, Policy
from ifttool.preparing.prepared import Prepared
from ifttool.samples import Origin
from ifttool.template.layout import Layout
from ifttool.template.turns import Verdict


class Surrounding(NamedTuple):
    """One turn with what stands around it, and what bears loss there; ``first`` is the number of its first part."""

    policy: Policy
    first: int


class Composition(msgspec.Struct, frozen=True, eq=False):
    """What samples have in common that are put together in the same way.

    Attributes:
        roles: The role of each message.
        verdicts: For each located turn, its verdict and whether it ends in an end-of-turn token.
        layouts: What the text is made of, in order.
        turns: The located turns.
        trained: How many turns are trained.
        verdict: The worst verdict, or ``none``.
        mismatch: The worst verdict that the recipe refuses; None if there is none.
        unrolls: Whether the conversations are to be unrolled instead.
        derived: What others have worked out from it, by what did.
    """

    roles: Sequence[str]
    verdicts: Sequence[tuple[Verdict, bool]]
    layouts: Sequence[Layout]
    turns: Sequence[Surrounding]
    trained: int
    verdict: str
    mismatch: Verdict | None
    unrolls: bool
    derived: dict[object, Any] = msgspec.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        roles: Sequence[str],
        verdicts: Sequence[tuple[Verdict, bool]],
        layouts: Sequence[Layout],
        turns: Sequence[Surrounding],
    ) -> "Composition":
        """A composition with what follows from its turns."""
        verdict = _worst([verdict for verdict, _ in verdicts])
        return cls(
            roles,
            verdicts,
            layouts,
            turns,
            trained=sum(len(turn.policy.turns) for turn in turns),
            verdict="none" if verdict is None else verdict.value,
            mismatch=_worst([turn.policy.mismatch for turn in turns if turn.policy.mismatch is not None]),
            unrolls=any(turn.policy.unrolls for turn in turns),
        )


class Outline(msgspec.Struct, frozen=True, eq=False):
    """One sample before tokenization, without positions: its mask is found from control tokens.

    Attributes:
        text: The rendered text.
        shape: What it is put together from, and has in common with all others of its shape.
        everything: Whether every token bears loss.
        origin: Where the sample comes from.
        refused: Why the recipe leaves this sample out; None if it doesn't.
        detail: Gives the same sample with its positions, the slower way.
    """

    text: str
    shape: Composition
    everything: bool
    origin: Origin
    refused: RowError | None
    detail: Callable[[], Prepared]


def _worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """None without any."""
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), None)
