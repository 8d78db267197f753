"""The net under assembled conversations: what was just learnt must give what the template itself gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from msgspec.structs import replace

from ifttool.errors import RowError
from ifttool.records import Conversation
from ifttool.template.chat_template import ChatTemplate
from ifttool.template.layout import Analysis, Layout, joined_intervals, located
from ifttool.template.perturb import all_changed, perturbed
from ifttool.template.plan import Plan, compile_plan
from ifttool.template.trajectory.assembly import Assembler, opening
from ifttool.template.trajectory.flatten import flat_layout, is_swallowed
from ifttool.template.trajectory.memory import Arrangement, Assembled, Memory
from ifttool.template.trajectory.program import UnfollowedError
from ifttool.template.trajectory.window import Window

# A template for which most rows can't be put together isn't worth the attempts.
_ATTEMPTS = 48
_FAILURES = 0.5
_CHECKED_TURNS = 6
# Nor is one for which rows go on teaching so much that learning, and comparing what is learnt with the reference each
# time, takes more renders than the slower way: looked at after so many rows.
_ENOUGH = 400

Located = Callable[[Conversation, Sequence[int]], tuple[Any, ...]]
"""The reference: the text of a conversation, and for each turn its intervals, verdict and ending."""


Accepts = Callable[[Sequence[Layout]], bool]


class _Given(NamedTuple):
    """A conversation put together.

    Attributes:
        conversation: The conversation.
        kinds: The number of each message's kind.
        turns: Messages of the turns.
        found: What came of it.
        fresh: The turns whose surroundings were new in it.
    """

    conversation: Conversation
    kinds: Sequence[int]
    turns: Sequence[int]
    found: Assembled
    fresh: Sequence[int]

    def turns_at(self, windows: Set[Window]) -> list[int]:
        """The first turn with each of these surroundings, or new ones."""
        firsts: dict[Window, int] = {}
        for placed in self.found.arrangement.turns:
            if placed.window in windows or placed.message in self.fresh:
                firsts.setdefault(placed.window, placed.message)
        return list(firsts.values())


class Pieced:
    """Assembles conversations, and compares with the reference whatever it has just learnt.

    Args:
        template: The chat template.
        reference: Renders a conversation and locates turns the slower way.
        accepts: Whether the caller has a use for what is located in some layouts.

    Attributes:
        is_open: Whether it is worth trying.
        why: Why the last conversation couldn't be put together; empty if it could.
    """

    def __init__(self, template: ChatTemplate, reference: Located, accepts: Accepts | None = None) -> None:
        self._template, self._reference, self._accepts = template, reference, accepts
        self._assembler: Assembler | None = None
        self._attempts = self._failures = 0
        self._spent = self._saved = 0.0  # renders
        self.is_open = True
        self.why = ""

    def assemble(
        self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int], memory: Memory | None = None
    ) -> Assembled | None:
        """A conversation put together from segments; None if it can't be, or the template refuses it.

        Args:
            conversation: The conversation.
            kinds: The number of each message's kind.
            turns: Messages of the turns.
            memory: What is remembered of conversations with these kinds of messages, turns, and tools or none.
        """
        if self._assembler is None:
            self._assembler = Assembler(self._template)
            if not self._assembler.can_follow:
                self._close("the template has no loop over messages that can be followed")
                return None
        before = self._assembler.generation
        self._attempts += 1
        self._saved += _renders(turns)
        try:
            found = self._assembler.assemble(conversation, kinds, turns, memory)
        except UnfollowedError as error:
            self._fail(str(error))
            return None
        self.why = ""
        if lessons := self._assembler.generation - before:
            given = _Given(conversation, kinds, turns, found, self._assembler.fresh)
            if not self._is_confirmed(given, lessons):
                # Something was read that left no guard: nothing learnt can be trusted.
                self._close("what was learnt isn't what the template gives")
                return None
        if not self._is_accepted(found.arrangement):
            self._fail("a turn isn't found from control tokens alone")
            return None
        return found

    def located(self, conversation: Conversation, kinds: Sequence[int], found: Assembled) -> tuple[Any, ...]:
        """What was just put together, in characters: see :func:`ifttool.template.layout.located`."""
        assert self._assembler is not None
        return located_in(self._assembler, conversation, kinds, found)

    def plan(self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int]) -> Plan | None:
        """A plan for conversations like one that was just put together; None if there is none that holds for others."""
        assert self._assembler is not None
        try:
            examined = self._assembler.examine(conversation, kinds, turns)
            if examined is None:
                return None
            expected = located_in(self._assembler, conversation, kinds, examined.assembled)
            # A run without text here may have some in another conversation: that is a guard, so all runs are needed.
            turns_here = [turn for turn, _ in _found_turns(self._assembler, conversation, kinds, examined.assembled)]
            analysis, empty = flat_layout(examined.pieces, turns_here, examined.assembled.arrangement.roles)
            if not analysis.layout.prints_always or is_swallowed(examined.pieces, analysis.layout):
                return None
            plan = compile_plan(analysis.layout, (*examined.guards, *empty))
            if located_by(plan, conversation, self._template.kwargs) != expected:
                return None
            kwargs = self._template.kwargs
            other = perturbed(conversation, lambda one: plan.replay(one.messages, one.tools, kwargs) is not None)
            assembled = self._assembler.assemble(other, kinds, turns)
        except UnfollowedError:
            return None
        changed = located_in(self._assembler, other, kinds, assembled)
        if located_by(plan, other, kwargs) != changed:
            return None
        return plan if self._accepts is None or self._accepts([plan.layout]) else None

    def _is_accepted(self, arrangement: Arrangement) -> bool:
        """Whether the caller has a use for it; asked once of each."""
        accepted: bool | None = arrangement.derived.get(self)
        if accepted is None:
            layouts = dict.fromkeys(placed.window.layout for placed in arrangement.turns)
            accepted = self._accepts is None or self._accepts([*layouts])
            arrangement.derived[self] = accepted
        return accepted

    def _fail(self, why: str) -> None:
        """Note a conversation that goes the slower way."""
        self.why = why
        self._failures += 1
        if self._failures >= _ATTEMPTS and self._failures > _FAILURES * self._attempts:
            self._close(why)

    def _close(self, why: str) -> None:
        """Give up on this template."""
        self.is_open, self.why = False, why

    def _is_confirmed(self, one: _Given, lessons: int) -> bool:
        """Whether what a conversation has just taught is what the template gives, there and in a changed copy."""
        windows = {placed.window for placed in one.found.arrangement.turns if placed.message in one.fresh}
        # The reference renders a conversation twice a turn; in one of 200 messages that takes seconds. Of turns whose
        # surroundings are known, the first one is the cheapest to look at.
        parts = [
            (part, part.turns_at(windows)[:_CHECKED_TURNS] or part.turns[:1]) for part in self._enough_of(one, windows)
        ]
        for part, checked in parts:
            self._spent += 2 * (lessons + _renders(checked)) * len(part.kinds) / len(one.kinds)
        if self._attempts >= _ENOUGH and self._spent > self._saved:
            self._close("the template's segments hardly ever come back")
        return all(self._holds(part, checked) for part, checked in parts)

    def _enough_of(self, one: _Given, windows: Set[Window]) -> list[_Given]:
        """The first messages of a conversation, if all that it taught is in them; else also, or only, the whole.

        Args:
            one: The conversation.
            windows: The surroundings of turns that were new.
        """
        assert self._assembler is not None
        conversation, kinds, turns = one.conversation, one.kinds, one.turns
        count, taught = opening(conversation.messages, turns), list(self._assembler.taught)
        if count == len(kinds) or (taught and count not in taught):
            return [one]
        start = replace(conversation, messages=conversation.messages[:count], train=conversation.train[:count])
        own = [turn for turn in turns if turn < count]
        try:
            found = self._assembler.assemble(start, kinds[:count], own)
        except UnfollowedError:
            return [one]
        part = _Given(start, kinds[:count], own, found, self._assembler.fresh)
        is_all = max(taught, default=0) <= count and windows <= {placed.window for placed in found.arrangement.turns}
        return [part] if is_all else [part, one]

    def _holds(self, one: _Given, checked: Sequence[int]) -> bool:
        """Whether a conversation, and a copy with other texts everywhere, are what the reference makes of them."""
        assert self._assembler is not None
        try:
            if not self._agrees(one.conversation, one.kinds, checked, one.found):
                return False
        except RowError:  # refused there: that is for the reference to say
            return False
        other = all_changed(one.conversation)
        try:
            return self._agrees(other, one.kinds, checked, self._assembler.assemble(other, one.kinds, one.turns))
        except (RowError, UnfollowedError):
            return True

    def _agrees(self, conversation: Conversation, kinds: Sequence[int], turns: Sequence[int], found: Assembled) -> bool:
        assert self._assembler is not None
        expected = located_turns(self._reference(conversation, turns), turns)
        text, places, blocks = located_in(self._assembler, conversation, kinds, found)
        return expected == (
            text,
            [place for place in places if place[0] in turns],
            [block for block in blocks if block[0] in turns],
        )


def _renders(turns: Sequence[int]) -> int:
    """How many renders the reference takes to locate turns."""
    return 1 + 2 * len(turns)


def located_in(
    assembler: Assembler, conversation: Conversation, kinds: Sequence[int], found: Assembled
) -> tuple[Any, ...]:
    """The text of an assembled conversation, its turns (intervals, verdict, ending) and their generation blocks."""
    turns, blocks = [], []
    for turn, generated in _found_turns(assembler, conversation, kinds, found):
        message, runs, verdict, ending = turn
        turns.append((message, joined_intervals(run for run in runs if run[0] < run[1]), verdict, ending))
        blocks.extend(generated)
    return (found.text, turns, blocks)


def _found_turns(
    assembler: Assembler, conversation: Conversation, kinds: Sequence[int], found: Assembled
) -> Iterator[tuple[tuple[Any, ...], list[tuple[int, int, int]]]]:
    """Each turn as its window has it, runs of no text included, and its generation blocks."""
    starts = [0]
    for text in found.texts:
        starts.append(starts[-1] + len(text))
    for placed, near in zip(found.arrangement.turns, assembler.located(conversation, kinds, found), strict=True):
        lead = 0 if placed.window.opens else len(near.texts[0])
        at = [starts[placed.first] - lead + position for position in near.positions()]
        turn = placed.window.turn
        blocks = [
            (placed.message, at[low], at[high])
            for message, (low, high) in near.layout.generated
            if message == turn.message
        ]
        runs = [(at[low], at[high]) for low, high in turn.runs]
        ending = (at[turn.end_of_turn[0]], at[turn.end_of_turn[1]]) if turn.ends else None
        yield (placed.message, runs, turn.verdict, ending), blocks


def located_by(plan: Plan, conversation: Conversation, kwargs: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The same by a plan; None if it isn't the one."""
    texts = plan.replay(conversation.messages, conversation.tools, kwargs)
    return None if texts is None else located(Analysis(plan.layout, texts))


def located_turns(reference: tuple[Any, ...], turns: Sequence[int]) -> tuple[Any, ...]:
    """What the reference says, less generation blocks of other messages than the given ones."""
    text, found, blocks = reference
    return (text, found, [block for block in blocks if block[0] in turns])
