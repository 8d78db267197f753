"""How many rejected rows a run forgives."""

from dataclasses import dataclass

from ifttool.errors import UsageError
from ifttool.ledger import SourceLedger


@dataclass(frozen=True, slots=True)
class Tolerance:
    """At most ``count`` rejected rows, or at most ``share`` of all rows."""

    count: int = 0
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Tolerance":
        """``"20"`` or ``"0.5%"``.

        Raises:
            UsageError: It is neither.
        """
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if 0 <= share <= 1:
                    return cls(share=share)
            elif int(text) >= 0:
                return cls(count=int(text))
        except ValueError:
            pass
        raise UsageError(f"--max-rejects can't be {text!r}", hint="a number of rows, or a share such as 0.5%")

    def allows(self, ledger: SourceLedger) -> bool:
        """Whether a run with these counts may be committed."""
        rejected = ledger.rejected.total()
        if self.share is not None:
            return rejected <= self.share * (ledger.lines - ledger.blanks)
        return rejected <= self.count
