"""Segments compiled: functions that say whether a segment is the one that comes next, and what it prints."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ifttool.template.compiler import Compiler
from ifttool.template.layout import Layout
from ifttool.template.symbols import Guard, Structure, owner
from ifttool.template.trajectory.affine import (
    ITEM,
    Affine,
    FlagGuard,
    IntGuard,
    KindGuard,
    NumberGuard,
    StateGuard,
)
from ifttool.template.trajectory.nodes import message_indices, resolved, with_messages
from ifttool.template.trajectory.recorder import MISSING, Effect, Recorded, Words

PARAMETERS = "messages, tools, kwargs, kinds, state, i, n, asks"


class SegmentCompiler(Compiler):
    """Also knows guards on positions, kinds and namespaces, and paths with positions in them."""

    def check(self, guard: Any) -> None:
        if isinstance(guard, IntGuard):
            asked = f"{guard.form.source()} {guard.operator} 0"
            self.lines.append(f"if {f'not ({asked})' if guard.answer else asked}: return None")
        elif isinstance(guard, KindGuard):
            self.lines.append(f"if kinds[{guard.index.source()}] != {guard.kind}: return None")
        elif isinstance(guard, StateGuard):
            found = f"state.get({guard.key!r}, {MISSING!r})"
            if isinstance(guard.value, bool) or guard.value is None:
                self.lines.append(f"if {found} is not {guard.value}: return None")
            else:
                self.lines.append(f"if {found} != {self.constant(guard.value)}: return None")
        elif isinstance(guard, NumberGuard):
            self.lines.append(f"if state.get({guard.key!r}).__class__ is not int: return None")
        elif isinstance(guard, FlagGuard):
            self.lines.append(f"if {'not ' if guard.answer else ''}asks: return None")
        else:
            super().check(guard)

    def _key(self, key: Any) -> str:
        return key.source() if isinstance(key, Affine) else repr(key)


class Segment:
    """A recorded segment, ready to be replayed.

    Functions take ``(messages, tools, kwargs, kinds, state, i, n, asks)``: the data, the kind of each message, values
    of namespace keys, the item's index, the number of messages, and whether the generation prompt is asked for. They
    are compiled when they are first needed.

    Attributes:
        number: Its number in the program.
        is_blind: Whether it reads nothing but namespaces.
        is_deaf: Whether it reads nothing but whether the generation prompt is asked for.
        counted: Namespace keys it sets to numbers that depend on how many messages there are.
        guards: Everything it reads of the data and of where it stands, with the answers.
        out: Number of what it prints: segments with equal numbers print the same text for the same item.
        kind: Kind of the item it is for.
        nodes: What it prints.
        blocks: Generation block of each node, counted in the segment; -1 for none.
        exit: How it ends.
        is_open: Whether it may depend on the number of messages other than by its distance to the last.
        counts: Whether anything in it depends on the number of messages.
        asks: Whether it depends on the generation prompt being asked for.
        reads: Namespace keys that its guards and numbers read.
        writes: Namespace keys it sets.
        reach: How many messages back it prints something of.
        printed: Indices of the messages it prints something of.
    """

    def __init__(self, recorded: Recorded, number: int, out: int, way: Any, roles: Mapping[Any, str]) -> None:
        self.number, self.out = number, out
        self.kind = recorded.kind
        self.guards: tuple[Any, ...] = recorded.guards
        self.nodes = tuple(piece.node for piece in recorded.pieces)
        self.blocks = tuple(piece.block for piece in recorded.pieces)
        self.exit = way
        self._effects: tuple[Effect, ...] = recorded.effects
        self._roles = roles
        self._covered: dict[int, bool] = {}  # by the number of the other segment
        self._settled: dict[int, bool] = {}
        self.is_open = any(_is_open(guard) for guard in self.guards)
        self.reads = frozenset(key for guard in self.guards for key in _keys(guard)) | frozenset(
            key for _, value in self._effects if isinstance(value, Affine) for key in value.names()
        )
        self.writes = frozenset(effect.key for effect in self._effects)
        self.counts = self.is_open or any(form.mentions("n") for guard in self.guards for form in _forms(guard))
        self.counts |= any(isinstance(value, Affine) and value.mentions("n") for _, value in self._effects)
        self.asks = any(isinstance(guard, FlagGuard) for guard in self.guards)
        self.printed = tuple(dict.fromkeys(index for node in self.nodes for index in message_indices(node)))
        self.reach = max((-index.constant for index in self.printed if isinstance(index, Affine)), default=0)
        self.owned = any(owner(node) is not None for node in self.nodes)
        self.is_silent = not self.nodes
        # Nothing but the question for a generation prompt decides whether it comes next.
        self.is_deaf = all(isinstance(guard, FlagGuard) for guard in self.guards)
        self.counted = frozenset(
            key for key, value in self._effects if isinstance(value, Affine) and value.mentions("n")
        )
        # Segments that read nothing of the data fit every item of their kind.
        self.is_blind = all(isinstance(guard, StateGuard) for guard in self.guards)

    @cached_property
    def run(self) -> Any:
        """The text it prints; None if it isn't the one."""
        compiler = SegmentCompiler()
        return compiler.function(PARAMETERS, self.guards, compiler.text(self.nodes))

    @cached_property
    def check(self) -> Any:
        """True if it is the one, else None."""
        return SegmentCompiler().function(PARAMETERS, self.guards, lambda: "True")

    @cached_property
    def still(self) -> Any:
        """Like ``check``, where it is known that it was the one in another render of the same messages."""
        moving = [guard for guard in self.guards if _is_moving(guard)]
        return SegmentCompiler().function(PARAMETERS, moving, lambda: "True")

    @cached_property
    def ask(self) -> Any:
        """Like ``check``, where all but the data is known to be the same; None if it asks nothing of the data."""
        asked = [guard for guard in self.guards if isinstance(guard, Guard | Structure)]
        return SegmentCompiler().function(PARAMETERS, asked, lambda: "True") if asked else None

    @cached_property
    def local_asks(self) -> frozenset[Any] | None:
        """What it asks of the data, if that is of its item or of messages at a fixed distance from it."""
        asked = [guard for guard in self.guards if isinstance(guard, Guard | Structure)]
        return None if any(map(_is_moving, asked)) else frozenset(asked)

    def covers(self, other: "Segment") -> bool:
        """Whether another segment asks nothing of the data that this one doesn't ask for the same item."""
        if other.number not in self._covered:
            own, asked = self.local_asks, other.local_asks
            self._covered[other.number] = asked is not None and own is not None and asked <= own
        return self._covered[other.number]

    def settles(self, other: "Segment") -> bool:
        """Whether what another segment asks that never moves is asked by this one, too: then ``still`` is enough."""
        if other.number not in self._settled:
            self._settled[other.number] = other.unmoving <= self.unmoving
        return self._settled[other.number]

    @cached_property
    def unmoving(self) -> frozenset[Any]:
        """What it asks that is the same in every render of the same messages."""
        return frozenset(guard for guard in self.guards if not _is_moving(guard))

    def is_alike(self, other: "Segment") -> bool:
        """Whether it leaves and ends as another one does, and neither can be another one in a beginning."""
        same = self._effects == other._effects and self.exit == other.exit
        return same and not (self.moves or other.moves)

    @cached_property
    def moves(self) -> bool:
        """Whether it may be another one in another render of the same messages."""
        return any(map(_is_moving, self.guards))

    @cached_property
    def texts(self) -> Any:
        """The texts of its nodes, guards unchecked."""
        compiler = SegmentCompiler()
        return compiler.function(PARAMETERS, (), compiler.texts(self.nodes))

    @cached_property
    def layout(self) -> Layout:
        """Its nodes as a layout without turns."""
        order = {index: position for position, index in enumerate(self._roles)}
        return Layout(
            nodes=tuple(with_messages(node, order.__getitem__) for node in self.nodes),
            blocks=self.blocks,
            roles=tuple(self._roles.values()),
            turns=(),
        )

    @cached_property
    def distance(self) -> tuple[str, int] | None:
        """The namespace key whose distance from the item decides alone whether it is still the one, and how near.

        Items that lie further before both values of the key than the second number have the same answers for both.
        """
        found = set()
        near = 0
        for guard in filter(_is_moving, self.guards):
            if isinstance(guard, NumberGuard):
                continue  # distances are asked for between numbers only
            if not isinstance(guard, IntGuard):
                return None
            if not any(guard.form.names()) and not guard.is_open:
                continue  # the distance to the end: it isn't the last item
            terms = dict(guard.form.terms)
            keys = set(terms) - {ITEM}
            if len(keys) != 1 or not isinstance(next(iter(keys)), str) or terms.get(ITEM) != -terms[next(iter(keys))]:
                return None
            found |= keys
            near = max(near, abs(guard.form.constant) + 1)
        return (found.pop(), near) if len(found) == 1 else None

    def allows(self, state: Mapping[str, Any]) -> bool:
        """Whether the namespaces are those it was recorded in."""
        return all(
            state.get(guard.key, MISSING) == guard.value for guard in self.guards if isinstance(guard, StateGuard)
        )

    def leave(self, state: dict[str, Any], item: int, count: int) -> dict[str, Any]:
        """The state after it; the given one isn't changed."""
        if not self._effects:
            return state
        after = dict(state)

        def value(form: Affine) -> int:
            return form.value(item=item, count=count, state=state)

        for key, written in self._effects:
            if isinstance(written, Affine):
                after[key] = value(written)
            elif isinstance(written, Words):
                after[key] = Words(tuple(resolved(node, value) for node in written.nodes))
            else:
                after[key] = written
        return after


def _keys(guard: Any) -> Sequence[str]:
    if isinstance(guard, StateGuard | NumberGuard):
        return (guard.key,)
    form = guard.form if isinstance(guard, IntGuard) else guard.index if isinstance(guard, KindGuard) else None
    return tuple(form.names()) if form is not None else ()


def _forms(guard: Any) -> list[Affine]:
    if isinstance(guard, IntGuard):
        return [guard.form]
    if isinstance(guard, KindGuard):
        return [guard.index]
    found = []
    for parts in (getattr(guard, "parts", ()), *(arg for arg in getattr(guard, "args", ()) if isinstance(arg, tuple))):
        for part in parts:
            if not isinstance(part, str) and hasattr(part, "_fields"):
                found += [index for index in message_indices(part) if isinstance(index, Affine)]
    path = getattr(guard, "path", ())
    return found + [step for step in path if isinstance(step, Affine)]


def _is_open(guard: Any) -> bool:
    if isinstance(guard, IntGuard):
        return guard.is_open
    return any(form.mentions("n") for form in _forms(guard))


def _is_moving(guard: Any) -> bool:
    """Whether a guard's answer may differ in a render of fewer messages, or after other namespaces."""
    if isinstance(guard, StateGuard | NumberGuard | FlagGuard):
        return True
    return any(form.mentions("n") or any(form.names()) for form in _forms(guard))
