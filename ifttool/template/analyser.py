"""Conversations → analyses: by a compiled plan where one fits, else by tracing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ifttool.errors import RowError
from ifttool.records import Conversation, Message
from ifttool.template.chat_template import ChatTemplate, TracedRender
from ifttool.template.judging import judge, judge_texts, says_something
from ifttool.template.layout import Analysis, lay_out, located
from ifttool.template.perturb import perturbed
from ifttool.template.plan import Plan, compile_plan
from ifttool.template.symbols import Guard, Structure, tag
from ifttool.template.trajectory.memory import Assembled, Memory
from ifttool.template.trajectory.pieced import Accepts, Pieced
from ifttool.template.turns import GENERATED_ROLES, TurnSpan, Verdict, has_text

# A shape seen once is traced, not compiled: compiling and checking costs some ten traces (and agent data has
# thousands of shapes of one conversation each).
COMPILE_AT_SIGHT = 2
PLANS_PER_SHAPE = 12
# Where conversations can be put together from segments, a plan of the whole costs what it saves on some twenty of
# them. So the first few plans are made soon (chats have few shapes, and all of them come back), and more only if those
# there are have been used often.
PLAN_AT_SIGHT = 8
_FREE_PLANS = 16
USES_A_PLAN = 128
# A plan of 24 messages with calls takes 10 ms to make, one of 60 takes 30 ms.
_LONGEST_PLANNED = 48
# Bounds on what is remembered. A piece of a plan takes about half a kilobyte, compiled code included; when the bound is
# reached, the shapes seen least recently are forgotten. Tool dialogues have thousands of shapes that come again, which
# take some 80,000 pieces.
MAX_SHAPES = 20_000
MAX_PIECES = 120_000

# Nearly all messages of chats have these keys, and text.
_PLAIN_KEYS = ("role", "content")
_PLAIN_SIZE = len(_PLAIN_KEYS)
# What has no value that could be part of a shape: its type is enough.
_TEXTUAL = frozenset({str, dict, list})


@dataclass(slots=True)
class _Shape:
    sightings: int = 0
    plans: list[Plan] = field(default_factory=list)
    refused: int = 0
    memory: Memory = field(default_factory=Memory)

    @property
    def pieces(self) -> int:
        """How much is remembered, in pieces of plans."""
        return self.memory.pieces + sum(len(plan.layout.nodes) for plan in self.plans)


@dataclass(frozen=True, slots=True)
class _Traced:
    """A traced analysis and what it depends on; ``guards`` is None if it holds for this content only."""

    analysis: Analysis
    guards: tuple[Guard | Structure, ...] | None


class Analyser:
    """Renders conversations with one template and locates turns in them.

    Args:
        template: The chat template.
        use_plans: Whether to compile plans; without, every conversation is traced.
        accepts: Whether there is a use for what is located in some layouts; None for all.

    Attributes:
        replays: How often plans were used; whoever prints by one of :meth:`plain_plans` counts it here.
        way: How the last conversation was rendered: ``plan``, ``segments``, or ``trace`` and why.
    """

    def __init__(
        self,
        template: ChatTemplate,
        *,
        use_plans: bool = True,
        accepts: Accepts | None = None,
    ) -> None:
        self._template = template
        self._use_plans = use_plans
        self._shapes: dict[Any, _Shape] = {}
        self._kinds: dict[Any, int] = {}
        self._plain: dict[str, int] = {}
        self._pieces = 0
        self._pieced = Pieced(template, self._trace_located, accepts)
        self._flat = self.replays = 0
        self.way = ""

    def analyse(self, conversation: Conversation, turns: Sequence[int]) -> Analysis:
        """Render a conversation and locate the given turns in it.

        Raises:
            RowError: ``IFT301``-``IFT303``: the template refuses the conversation, fails on it or prints nothing.
        """
        if not self._use_plans:
            return self._trace(conversation, turns, general=False).analysis
        shape = self._shape(self._kinds_of(conversation), turns, has_tools=conversation.tools is not None)
        replayed = self._replayed(shape, conversation)
        if replayed is not None:
            return replayed
        self.way = f"trace: {self._pieced.why}" if self._pieced.why else "trace"
        shape.sightings += 1
        compiles = shape.sightings >= COMPILE_AT_SIGHT and len(shape.plans) + shape.refused < PLANS_PER_SHAPE
        traced = self._trace(conversation, turns, general=compiles)
        if compiles:
            self._add_plan(shape, conversation, turns, traced)
        return traced.analysis

    def locate(self, conversation: Conversation, turns: Sequence[int]) -> tuple[Any, ...]:
        """Render a conversation and locate the given turns in it, in characters: see :func:`located`.

        Takes time in proportion to the turns where the conversation can be put together from segments.

        Raises:
            RowError: As :meth:`analyse`.
        """
        found = self.assemble(conversation, turns) if self._use_plans else None
        if isinstance(found, Assembled):
            return self._pieced.located(conversation, self._kinds_of(conversation), found)
        return located(self.analyse(conversation, turns) if found is None else found)

    def plain_plans(self, roles: tuple[str, ...], turns: tuple[int, ...]) -> Sequence[Plan] | None:
        """The plans for conversations of plain messages, with their roles and turns; None while a role is new.

        Plans that are made later are added to them.
        """
        kinds = [self._plain.get(role, -1) for role in roles]
        return None if -1 in kinds else self._shape(kinds, turns, has_tools=False).plans

    def assemble(self, conversation: Conversation, turns: Sequence[int]) -> Analysis | Assembled | None:
        """Render a conversation and locate turns by a plan, or put it together from segments; None if neither can.

        A shape that comes again and again gets a plan, which is ten times faster; the others never need one.
        """
        kinds = self._kinds_of(conversation)
        shape = self._shape(kinds, turns, has_tools=conversation.tools is not None)
        texts = self._replayed(shape, conversation)
        if texts is not None:
            return texts
        if not self._pieced.is_open:
            return None
        before = shape.memory.pieces
        found = self._pieced.assemble(conversation, kinds, turns, shape.memory)
        self._pieces += shape.memory.pieces - before
        if found is None:
            return None
        self.way = "segments"
        shape.sightings += 1
        if (
            shape.sightings >= PLAN_AT_SIGHT
            and len(shape.plans) + shape.refused < PLANS_PER_SHAPE
            and self._pays(kinds)
        ):
            shape.sightings = 0
            self._flat += 1
            self._keep(shape, self._pieced.plan(conversation, kinds, turns))
        return found

    def _pays(self, kinds: Sequence[int]) -> bool:
        """Whether plans of this template are used often enough for one more, of messages of these kinds.

        Tool definitions and calls differ in structure as much as sequences of messages do: plans of 9,000 tool
        dialogues were used nine times each, which doesn't pay.
        """
        return len(kinds) <= _LONGEST_PLANNED and self.replays >= USES_A_PLAN * (self._flat - _FREE_PLANS)

    def _replayed(self, shape: _Shape, conversation: Conversation) -> Analysis | None:
        for plan in shape.plans:
            texts = plan.replay(conversation.messages, conversation.tools, self._template.kwargs)
            if texts is not None:
                self.way = "plan"
                self.replays += 1
                return Analysis(plan.layout, texts)
        return None

    def _kinds_of(self, conversation: Conversation) -> list[int]:
        """The number of each message's kind: what it looks like before any of its text is read."""
        kinds, plain = self._kinds, self._plain
        found = []
        for message in conversation.messages:
            if len(message) == _PLAIN_SIZE:
                # Taking a dict apart costs half of looking its keys up.
                (first, role), (second, content) = message.items()
                if first == "role" and second == "content" and content.__class__ is str:
                    number = plain.get(role)
                    if number is not None:
                        found.append(number)
                        continue
            key: tuple[Any, ...] = (message["role"], *message, *map(type, message.values()))
            number = kinds.get(key)
            if number is None:
                # Of numbers and constants the value is part of the shape, of text and containers the type.
                if not _TEXTUAL.issuperset(key[1 + len(message) :]):
                    key = (message["role"], *message, *map(tag, message.values()))
                number = kinds.setdefault(key, len(kinds))
            if key[1:] == (*_PLAIN_KEYS, str, str):
                plain[message["role"]] = number
            found.append(number)
        return found

    def _shape(self, kinds: Sequence[int], turns: Sequence[int], *, has_tools: bool) -> _Shape:
        key = (tuple(kinds), has_tools, tuple(turns))
        entry = self._shapes.pop(key, None) or _Shape()
        self._shapes[key] = entry  # last in the dict: seen most recently
        while len(self._shapes) > MAX_SHAPES or self._pieces > MAX_PIECES:
            forgotten = self._shapes.pop(next(iter(self._shapes)))
            self._pieces -= forgotten.pieces
        return entry

    def _add_plan(self, shape: _Shape, conversation: Conversation, turns: Sequence[int], traced: _Traced) -> None:
        plan = None if traced.guards is None else compile_plan(traced.analysis.layout, traced.guards)
        holds = plan is not None and self._holds(plan, conversation, turns, traced.analysis)
        self._keep(shape, plan if holds else None)

    def _keep(self, shape: _Shape, plan: Plan | None) -> None:
        if plan is None:
            shape.refused += 1
            return
        shape.plans.append(plan)
        self._pieces += len(plan.layout.nodes)

    def _holds(self, plan: Plan, conversation: Conversation, turns: Sequence[int], analysis: Analysis) -> bool:
        """Whether a plan reproduces its own row and a perturbed copy of it, texts and turns alike."""
        kwargs = self._template.kwargs
        if plan.replay(conversation.messages, conversation.tools, kwargs) != list(analysis.texts):
            return False
        other = perturbed(
            conversation, lambda candidate: plan.replay(candidate.messages, candidate.tools, kwargs) is not None
        )
        texts = plan.replay(other.messages, other.tools, kwargs)
        if texts is None:
            return False
        try:
            expected = self._trace(other, turns, general=False).analysis
        except RowError:
            return False
        return located(Analysis(plan.layout, texts)) == located(expected)

    def _trace_located(self, conversation: Conversation, turns: Sequence[int]) -> tuple[Any, ...]:
        return located(self._trace(conversation, turns, general=False).analysis)

    def _trace(self, conversation: Conversation, turns: Sequence[int], *, general: bool) -> _Traced:
        """Analyse one conversation; with ``general``, also find out for which other contents the result holds."""
        template, messages, tools = self._template, conversation.messages, conversation.tools
        full = template.trace(messages, tools)
        if not full.text.strip():
            raise RowError("IFT303", f"chat template {template.name} renders nothing for this conversation")
        guards: list[Guard | Structure] = list(full.guards)
        general = general and not full.lost
        spans = []
        for turn in turns:
            quick = None if general or turn == len(messages) - 1 else self._quick(full, conversation, turn)
            if quick is not None:
                spans.append(quick)
                continue
            own = full if turn == len(messages) - 1 else self._part(messages[: turn + 1], tools)
            generated = messages[turn]["role"] in GENERATED_ROLES
            prompt = self._part(messages[:turn], tools, add_generation_prompt=True) if generated else None
            found = judge(full, own, prompt, turn, has_text=has_text(messages[turn]), generated=generated)
            spans.append(found.span)
            if found.span.verdict is Verdict.DROPPED:  # a reply of nothing would be looked for in another way
                guards.extend(says_something(messages[turn], turn))
            for render in (own, prompt):
                guards.extend(() if render is None else render.guards)
            refused = own is None or (generated and prompt is None)
            general = general and found.guards is not None and not refused
            guards.extend(found.guards or ())
        roles = [str(message["role"]) for message in messages]
        analysis, empty = lay_out(full.pieces, spans, roles, lost=full.lost)
        general = general and analysis.layout.prints_always  # or another row could print nothing
        return _Traced(analysis, (*guards, *empty) if general else None)

    def _quick(self, full: TracedRender, conversation: Conversation, turn: int) -> TurnSpan | None:
        """Judge a turn from plain renders of its parts; None where that can't tell."""
        messages, tools = conversation.messages, conversation.tools
        if not turn or full.lost or messages[turn]["role"] not in GENERATED_ROLES:
            return None
        try:
            prompt = self._template.render(messages[:turn], tools, add_generation_prompt=True)
            own = self._template.render(messages[: turn + 1], tools)
        except RowError:
            return None
        return judge_texts(full, own, prompt, turn, data=conversation.strings())

    def _part(
        self, messages: Sequence[Message], tools: Any, *, add_generation_prompt: bool = False
    ) -> TracedRender | None:
        """A render of the first messages; None where the template refuses them."""
        if not messages:
            return None
        try:
            return self._template.trace(messages, tools, add_generation_prompt=add_generation_prompt)
        except RowError:
            return None
