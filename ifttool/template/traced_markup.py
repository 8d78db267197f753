"""Text that a template declared to be HTML, which chat templates do by accident (``tojson | safe``)."""

from typing import Any

from ifttool.template.symbols import Piece, merged_pieces
from ifttool.template.tracing import TracedStr


class UntraceableError(Exception):
    """The template does something that traced data can't follow; its trace is lost, its text isn't."""


class TracedMarkup(TracedStr):
    """Text that ``|safe`` or ``|escape`` declared to be HTML: ``+`` escapes the other side.

    Chat templates use it by accident (``tojson | safe``). Operations that they don't use on it lose the trace.
    """

    __slots__ = ()

    def __html__(self) -> str:
        return self

    def __str__(self) -> str:
        return TracedStr.of(self._trace, self._pieces)

    def __add__(self, other: object) -> Any:
        if not isinstance(other, str):
            return NotImplemented
        return TracedMarkup.of(self._trace, merged_pieces(self._pieces + self._escaped_pieces(other)))

    def __radd__(self, other: object) -> Any:
        if not isinstance(other, str):
            return NotImplemented
        return TracedMarkup.of(self._trace, merged_pieces(self._escaped_pieces(other) + self._pieces))

    def _escaped_pieces(self, other: str) -> tuple[Piece, ...]:
        if isinstance(other, TracedMarkup):
            return other.pieces
        return escaped(TracedStr.of(self._trace, self.pieces_of(other))).pieces


def as_markup(text: TracedStr) -> TracedMarkup:
    """The same text, declared to be Markup."""
    return TracedMarkup.of(text.trace, text.pieces)


def escaped(text: TracedStr) -> TracedMarkup:
    """The text with what HTML gives a meaning escaped, as Markup; Markup stays as it is."""
    return text if isinstance(text, TracedMarkup) else as_markup(text.mapped("escape"))


def _lost(*args: Any, **kwargs: Any) -> Any:
    raise UntraceableError("an operation on Markup that isn't followed")


for _name in ("__mul__", "__rmul__", "__mod__", "__rmod__", "__iter__", "__format__", "join", "replace",
              "splitlines", "format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs",
              "translate"):  # fmt: skip
    setattr(TracedMarkup, _name, _lost)
