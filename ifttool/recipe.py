"""Everything that decides what a run makes of its input, in one frozen, picklable value."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_args

from ifttool.errors import UsageError
from ifttool.selection import Selection

Spans = Literal["auto", "generation", "completion"]
Unroll = Literal["never", "auto", "always"]
OnMismatch = Literal["warn", "unroll", "mask", "drop", "error"]
ContentSpecials = Literal["text", "allow", "error", "drop"]
Boundary = Literal["whole", "split"]
Backend = Literal["auto", "tokenizers", "fastokens"]
Verify = Literal["none", "sample", "all"]
Overflow = Literal["drop", "truncate", "error"]
ToolArguments = Literal["object", "string", "keep"]

_OPTIONS_OF_TURNS = (
    "train_reasoning",
    "train_tool_calls",
    "train_end_of_turn",
    "turn_tokens",
    "spans",
    "on_mismatch",
    "unroll",
    "train_history",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How conversations become samples. Two runs with equal recipes and inputs write equal bytes.

    Attributes:
        template: Text of the chat template.
        template_name: What to call it in messages.
        tokenizer: Folder or file of the tokenizer, or ``default``.
        template_kwargs: Extra template variables, JSON values.
        date: What ``strftime_now`` reads, ISO 8601.
        input_format: Row shape, or ``auto``.
        tool_arguments: How tool-call arguments reach the template.
        generation_prompt: Whether renders end in the generation prompt (``render`` only).
        train_on: Which turns bear loss, in the grammar of :class:`ifttool.selection.Selection`.
        train_reasoning: Whether reasoning in trained turns bears loss.
        train_tool_calls: Whether tool calls in trained turns do.
        train_end_of_turn: Whether the end-of-turn token does.
        turn_tokens: Shortest and longest completion that is trained, in tokens; None for no limit.
        append_eos: Add the tokenizer's EOS where the last turn of a sample ends in nothing.
        spans: Where a turn's span comes from: the template's tags or its completion.
        on_mismatch: What becomes of trained turns whose verdict isn't ``exact``.
        unroll: Whether each trained turn becomes a sample of its own; ``auto`` does it where history is rewritten.
        train_history: Whether an unrolled sample trains its earlier turns again.
        content_specials: What becomes of control tokens typed into the data.
        backend: What encodes: ``tokenizers``, ``fastokens``, or the fast one where it is exact (``auto``).
        verify: Which rows are done again by the reference path and compared.
        boundary: Ids of the whole text, or completions encoded on their own where a token would straddle.
        max_length: Longest sample in tokens; None for no limit.
        overflow: What becomes of longer samples.
        bears_loss: Whether samples have a loss mask at all (``tokenize --no-loss`` has none).
        allow_text_markers: Accept an end-of-turn marker that the tokenizer doesn't know as one token.
    """

    template: str
    template_name: str
    tokenizer: str
    date: str
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    input_format: str = "auto"
    tool_arguments: ToolArguments = "object"
    generation_prompt: bool = False
    train_on: str = "assistant-turns"
    train_reasoning: bool = True
    train_tool_calls: bool = True
    train_end_of_turn: bool = True
    turn_tokens: tuple[int | None, int | None] = (None, None)
    append_eos: bool = False
    spans: Spans = "auto"
    on_mismatch: OnMismatch = "warn"
    unroll: Unroll = "never"
    train_history: bool = False
    content_specials: ContentSpecials = "text"
    boundary: Boundary = "whole"
    backend: Backend = "auto"
    verify: Verify = "sample"
    max_length: int | None = None
    overflow: Overflow = "drop"
    bears_loss: bool = True
    allow_text_markers: bool = False

    def __post_init__(self) -> None:
        for name, kind in (
            ("spans", Spans),
            ("unroll", Unroll),
            ("on_mismatch", OnMismatch),
            ("content_specials", ContentSpecials),
            ("boundary", Boundary),
            ("backend", Backend),
            ("verify", Verify),
            ("overflow", Overflow),
            ("tool_arguments", ToolArguments),
        ):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    f"{name.replace('_', '-')} can't be {getattr(self, name)!r}",
                    hint=f"choose one of {', '.join(get_args(kind))}",
                )
        if self.selection.everything:
            self._refuse_options_of_turns()
        low, high = self.turn_tokens
        if low is not None and high is not None and low > high:
            raise UsageError(f"turn-tokens can't be {low}:{high}: no turn is so long and so short")
        if self.max_length is not None and self.max_length < 2:
            raise UsageError(f"max-length can't be {self.max_length}: a sample needs at least two tokens")

    def _refuse_options_of_turns(self) -> None:
        defaults = {one.name: one.default for one in fields(self)}
        for name in _OPTIONS_OF_TURNS:
            if getattr(self, name) != defaults[name]:
                raise UsageError(
                    f"{name.replace('_', '-')} has no effect with --train-on {self.train_on}",
                    hint="it is about trained turns, and here every token bears loss",
                )

    @property
    def selection(self) -> Selection:
        """Which turns are trained."""
        return Selection.parse(self.train_on)

    @property
    def clock(self) -> datetime:
        """The pinned clock."""
        return parse_date(self.date)

    @property
    def template_sha256(self) -> str:
        """Digest of the template's text, as hex."""
        return hashlib.sha256(self.template.encode("utf-8")).hexdigest()

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Recipe":
        """What :meth:`as_json` gave; raises KeyError or TypeError if it isn't that."""
        return cls(**{**plain, "turn_tokens": tuple(plain["turn_tokens"])})

    def as_json(self) -> dict[str, Any]:
        """The recipe as plain JSON, for the manifest."""
        plain = asdict(self)
        plain["template_kwargs"] = dict(self.template_kwargs)
        return plain


def parse_date(text: str) -> datetime:
    """A date or date and time, ISO 8601.

    Raises:
        UsageError: It isn't one.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--date {text!r} isn't a date", hint="write it as 2026-01-31") from error


def parse_turn_tokens(text: str) -> tuple[int | None, int | None]:
    """Limits such as ``5:2000``, ``:2000`` or ``5:``.

    Raises:
        UsageError: It isn't a range.
    """
    low, colon, high = text.partition(":")
    try:
        limits = (int(low) if low else None, int(high) if high else None)
    except ValueError:
        limits = (None, None)
    if not colon or limits == (None, None) or any(limit is not None and limit < 0 for limit in limits):
        raise UsageError(f"--turn-tokens can't be {text!r}", hint="write it as MIN:MAX, MIN: or :MAX")
    return limits


def parse_kwargs(text: str) -> dict[str, Any]:
    """Template kwargs given as one JSON object.

    Raises:
        UsageError: It isn't a JSON object, or it names a variable that ifttool itself sets.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--template-kwargs isn't JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError("--template-kwargs must be a JSON object", hint="such as '{\"enable_thinking\": false}'")
    taken = sorted(value.keys() & {"messages", "tools", "documents", "add_generation_prompt"})
    if taken:
        raise UsageError(f"--template-kwargs can't set {', '.join(taken)}: the data and options do")
    return value
