"""Samples explained: which tokens are trained and why, as data and as text for a terminal."""

from ifttool.show.differing import Difference, Move, compare
from ifttool.show.explaining import explain
from ifttool.show.explanation import Explanation, Refusal, Span, Token, TurnNote

__all__ = ["Difference", "Explanation", "Move", "Refusal", "Span", "Token", "TurnNote", "compare", "explain"]
