"""One render taken down in segments: what each read, what it printed, what it left in namespaces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2.runtime import Macro, Undefined
from jinja2.utils import missing

from ifttool.records import Message
from ifttool.template.chat_template import traced_message
from ifttool.template.symbols import Cut, Leaf, Map, Node, Piece, is_fixed, merged_pieces
from ifttool.template.traced_containers import TracedDict, TracedList
from ifttool.template.traced_markup import UntraceableError
from ifttool.template.tracing import Trace, TracedStr
from ifttool.template.trajectory.affine import ITEM, Affine, FlagGuard, KindGuard, NumberGuard, StateGuard, variable
from ifttool.template.trajectory.nodes import message_indices, resolved
from ifttool.template.trajectory.numbers import TracedFlag, TracedInt
from ifttool.template.trajectory.views import MessageView, SpyNamespace
from ifttool.template.turns import ROLE_WORDS

MISSING = "<missing>"
"""State of a namespace key that wasn't set."""
OPAQUE = "<opaque>"
"""State of a namespace key that holds what isn't followed. No guard asks for it, so no segment that reads it fits."""

Context = tuple[Any, ...]
"""Where a template is and what its variables hold: renders in the same context go on in the same way."""


class LoopExit(NamedTuple):
    """A segment that ends where a loop over messages begins."""

    context: Context
    view: tuple[Affine, Affine, int]
    after: Context


class Words(NamedTuple):
    """Text in a namespace: how it was made."""

    nodes: tuple[Node, ...]


class Effect(NamedTuple):
    """What a segment leaves in a namespace key: a number, words, or a plain value."""

    key: str
    value: Any


Exit = LoopExit | str
"""``next`` (item of the loop), ``break`` (out of the loop), ``end`` (of the template), ``raise``; or a loop."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One segment of a recording.

    Attributes:
        context: Where it started; with the kind of the loop's item, where a replay looks for it.
        kind: Kind of the loop's item; None outside of loops.
        item: Index of that item; -1 outside of loops.
        guards: Everything it read, with the answers.
        pieces: What it printed; messages are numbered relative to the loop's item.
        effects: What it left in namespaces.
        exit: How it ended.
    """

    context: Context
    kind: int | None
    item: int
    guards: tuple[Any, ...]
    pieces: tuple[Piece, ...]
    effects: tuple[Effect, ...]
    exit: Exit


class Recorder:
    """Takes down one render.

    Args:
        messages: The conversation.
        kinds: The number of each message's kind.
        asks_prompt: Whether the generation prompt is asked for.
        root: The context at the start.
        variables: Gives the template's variables that may still be read in a loop and after it, or only after it.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        kinds: Sequence[int],
        *,
        asks_prompt: bool,
        root: Context,
        variables: Callable[[int, bool], dict[str, Any]],
    ) -> None:
        self.trace = Trace()
        self._messages, self._kinds, self._asks_prompt = messages, kinds, asks_prompt
        self._variables = variables
        # Loops resolve what isn't a variable of the template itself, such as `tools`, anew in every iteration.
        self._root = root
        self.segments: list[Recorded] = []
        self._state: dict[str, Any] = {}
        self._texts: dict[str, tuple[Piece, ...]] = {}
        self._namespaces = 0
        self._loop: LoopExit | None = None
        self._item = -1
        self._begin(root)

    # -- segments ------------------------------------------------------------------------------------------------

    def _begin(self, context: Context) -> None:
        self._context = context
        self._pieces: list[Piece] = []
        self._written: dict[str, Any] = {}
        self._wrapped: dict[Affine, Message] = {}
        self._locals = self._blocks = 0
        self.trace.guards = {}

    def emit(self, pieces: Sequence[Piece]) -> None:
        """Take down what the template printed."""
        self._pieces.extend(pieces)

    def end(self, way: Exit) -> None:
        """Close the current segment."""
        self.segments.append(
            Recorded(
                self._context,
                None if self._item < 0 else self._kinds[self._item],
                self._item,
                tuple(self.trace.guards),
                merged_pieces(self._pieces),
                tuple(self._settle()),
                way,
            )
        )
        self._item = -1

    def _settle(self) -> list[Effect]:
        """Carry what was written over to the state; what it means for a replay is the effect.

        Forms name what namespaces held at the start of the segment, so the state changes only at the end.
        """
        effects = []
        after = dict(self._state)
        for key, value in self._written.items():
            if key.startswith("local"):
                continue
            if isinstance(value, TracedInt):
                effects.append(Effect(key, value.form))
                after[key] = self._value(value.form)
            elif isinstance(value, str):
                pieces = _lasting(value.pieces if isinstance(value, TracedStr) else (Piece(value, value),))
                effects.append(Effect(key, Words(tuple(piece.node for piece in pieces))))
                pieces = tuple(Piece(resolved(piece.node, self._value), piece.text, piece.block) for piece in pieces)
                self._texts[key] = pieces
                after[key] = Words(tuple(piece.node for piece in pieces))
            elif value is None or isinstance(value, bool | int | float):
                effects.append(Effect(key, value))
                after[key] = value
            else:
                effects.append(Effect(key, OPAQUE))
                after[key] = value
        self._state = after
        return effects

    def _value(self, form: Affine) -> int:
        return form.value(item=self._item, count=len(self._messages), state=self._state)

    # -- loops ---------------------------------------------------------------------------------------------------

    def enter_loop(self, site: int, view: MessageView) -> range:
        """A loop over messages begins: indices of its items, in its order."""
        start, stop, _ = view.spec
        if any(name != "n" for form in (start, stop) for name, _ in form.terms):
            raise UntraceableError("a loop over a part of the messages that depends on more than their number")
        exit_ = LoopExit(
            ("loop", self._root, site, *view.spec, *self._signature(site, after=False)),
            view.spec,
            ("after", self._root, site, *self._signature(site, after=True)),
        )
        self.end(exit_)
        self._loop = exit_
        indices = range(self._value(start), self._value(stop))
        return indices if view.step == 1 else indices[::-1]

    def begin_item(self, index: int) -> None:
        """The loop goes on to a message."""
        assert self._loop is not None
        if self._item >= 0:
            self.end("next")
        self._item = index
        self._begin(self._loop.context)

    def break_loop(self) -> None:
        """The template leaves the loop before its end."""
        assert self._loop is not None
        self.end("break")
        self._begin(self._loop.after)
        self._loop = None

    def leave_loop(self) -> None:
        """The loop is through all its messages."""
        assert self._loop is not None
        if self._item >= 0:
            self.end("next")
        self._begin(self._loop.after)
        self._loop = None

    def _signature(self, site: int, *, after: bool) -> tuple[Any, ...]:
        return tuple((name, _canonical(value)) for name, value in sorted(self._variables(site, after).items()))

    # -- what the template reads ---------------------------------------------------------------------------------

    def number(self, form: Affine) -> TracedInt:
        """A traced number."""
        return TracedInt(self.trace, self._value(form), form)

    def message(self, index: Affine) -> Message:
        """A message as the template sees it."""
        wrapped = self._wrapped.get(index)
        if wrapped is None:
            at = self._value(index)
            if index.terms != ((ITEM, 1),) or index.constant:
                self.trace.guards[KindGuard(index, self._kinds[at])] = None
            place: Any = index if index.terms else index.constant
            wrapped = self._wrapped[index] = traced_message(self.trace, self._messages[at], place)
        return wrapped

    def asks_prompt(self) -> bool:
        """Whether the generation prompt is asked for."""
        self.trace.guards[FlagGuard(self._asks_prompt)] = None
        return self._asks_prompt

    def new_namespace(self) -> str:
        """A name for a namespace; those made for one message don't outlive it."""
        if self._item >= 0:
            self._locals += 1
            return f"local{self._locals}"
        self._namespaces += 1
        return str(self._namespaces)

    def new_block(self) -> int:
        """A number for a generation block, counted anew in every segment."""
        self._blocks += 1
        return self._blocks - 1

    def write(self, key: str, value: Any) -> None:
        """Set a namespace key."""
        self._written[key] = value

    def read(self, key: str) -> Any:
        """A namespace key.

        Raises:
            AttributeError: It isn't set.
        """
        if key in self._written:
            return self._written[key]
        value = self._state.get(key, MISSING)
        if isinstance(value, int) and not isinstance(value, bool):
            self.trace.guards[NumberGuard(key)] = None
            return TracedInt(self.trace, value, variable(key))
        if not (value is None or isinstance(value, bool | float | str | Words)):
            raise UntraceableError("a namespace holds more than text and numbers")
        self.trace.guards[StateGuard(key, value)] = None
        if value == MISSING:
            raise AttributeError(key)
        return TracedStr.of(self.trace, self._texts[key]) if isinstance(value, Words) else value


def _lasting(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Text for a namespace, where the kind of its message is forgotten: roles become what they say.

    Raises:
        UntraceableError: A role isn't one of the usual words; as template text it could forge a control token.
    """
    told = []
    for piece in pieces:
        if (
            isinstance(piece.node, Leaf | Map | Cut)
            and is_fixed(piece.node)
            and any(True for _ in message_indices(piece.node))
        ):
            if piece.text.casefold() not in ROLE_WORDS:
                raise UntraceableError("a namespace holds an unusual role")
            piece = Piece(piece.text, piece.text, piece.block)  # noqa: PLW2901
        told.append(piece)
    return merged_pieces(told)


def _canonical(value: Any) -> Any:
    """What a variable holds, as a hashable value.

    Raises:
        UntraceableError: It can't be told.
    """
    if value is missing or value is None or type(value) in (bool, int, float, str):
        return value if value is not missing else ("missing",)
    if isinstance(value, TracedStr):
        # The role of a message is the same for every message of its kind, but not for every message of that number.
        told = tuple((piece.node, piece.text if is_fixed(piece.node) else None) for piece in value.pieces)
        return ("text", type(value).__name__, told)
    if isinstance(value, TracedInt):
        return ("number", value.form)
    if isinstance(value, MessageView):
        return ("messages", *value.spec)
    if isinstance(value, TracedDict | TracedList):
        return ("data", value.path)
    if isinstance(value, SpyNamespace):
        return ("namespace", object.__getattribute__(value, "_spy")[1])
    if isinstance(value, Macro):
        return ("macro", value.name)
    if isinstance(value, Undefined):
        return ("undefined",)
    if isinstance(value, TracedFlag):
        return ("flag",)
    if type(value) is dict:
        return ("dict", tuple((_canonical(key), _canonical(item)) for key, item in value.items()))
    if type(value) in (list, tuple):
        return ("list", tuple(_canonical(item) for item in value))
    raise UntraceableError(f"a variable holds a {type(value).__name__}")
