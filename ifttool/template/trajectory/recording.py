"""The environment that records: the traced one, with loops over messages, ``loop`` and namespaces followed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import Frame
from jinja2.runtime import LoopContext

from ifttool.records import Message
from ifttool.template.environment import OPEN_TYPES
from ifttool.template.symbols import Piece
from ifttool.template.traced_containers import wrap
from ifttool.template.traced_environment import TracingCodeGenerator, TracingEnvironment
from ifttool.template.traced_markup import UntraceableError
from ifttool.template.tracing import TracedStr
from ifttool.template.trajectory.affine import constant
from ifttool.template.trajectory.numbers import TracedFlag, TracedInt
from ifttool.template.trajectory.recorder import Context, Recorded, Recorder
from ifttool.template.trajectory.views import ALL_STOP, FollowedLoop, MessageView, SpyLoop, SpyNamespace

_FOLLOW = "ifttool_follow"  # the filter that marks the loops to follow
OPEN_TYPES.update((SpyLoop, SpyNamespace))


class _RecordingCodeGenerator(TracingCodeGenerator):
    """Tells the recorder where a followed loop is left."""

    def visit_Break(self, node: nodes.Node, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if getattr(node, "leaves_followed_loop", False):
            self.writeline("environment.leave_loop()", node)
        self.writeline("break", node)


class RecordingEnvironment(TracingEnvironment):
    """Renders traced data into recordings. One at a time."""

    code_generator_class = _RecordingCodeGenerator

    def __init__(self, *, clock: datetime) -> None:
        super().__init__(clock=clock)
        self._recorder: Recorder
        self.filters[_FOLLOW] = self._follow
        self.globals["namespace"] = lambda *args, **kwargs: SpyNamespace(self._recorder, *args, **kwargs)
        first, last = self.filters["first"], self.filters["last"]
        self.filters["first"] = lambda seq: self._end(seq, 0) if isinstance(seq, MessageView) else first(self, seq)
        self.filters["last"] = lambda seq: self._end(seq, -1) if isinstance(seq, MessageView) else last(self, seq)
        for name in ("number", "integer"):
            self.tests[name] = _or_traced(self.tests[name])
        # C code and `is true` look at a value itself, so a flag must be asked before they do.
        for table in (self.tests, self.filters):
            for name, function in list(table.items()):
                if name not in ("default", "d", "defined", "undefined", _FOLLOW):
                    table[name] = _asked_first(function)

    def _end(self, view: MessageView, position: int) -> Any:
        try:
            return view.item(position)
        except IndexError:
            return self.undefined("No first item, sequence was empty.")

    def _follow(self, value: Any, site: int) -> Any:
        return FollowedLoop(self._recorder, value, site) if isinstance(value, MessageView) else value

    def _length(self, value: Any) -> Any:
        return value.length if isinstance(value, MessageView) else super()._length(value)

    def _is_iterable(self, value: Any) -> bool:
        return isinstance(value, MessageView) or super()._is_iterable(value)

    def _is_sequence(self, value: Any) -> bool:
        return isinstance(value, MessageView) or super()._is_sequence(value)

    def record(self, program: "FollowedTemplate", recorder: Recorder, variables: Mapping[str, Any]) -> None:
        """Run a template on traced data and take it down in ``recorder``.

        Raises:
            Exception: Whatever the template raises, or an operation that isn't followed.
        """
        self.trace, self._recorder = recorder.trace, recorder
        self.take_doors(program.template)["LoopContext"] = _loop_context
        context = program.template.new_context(dict(variables))
        render = program.template.root_render_func(context)
        program.watch(render)
        for part in render:
            recorder.emit(self.text_of(part).pieces)

    def mark_generated(self, text: str) -> str:
        block = self._recorder.new_block()
        pieces = self.text_of(text).pieces
        return TracedStr.of(self.trace, tuple(Piece(piece.node, piece.text, block) for piece in pieces))

    def leave_loop(self) -> None:
        """Called by the compiled template where it breaks out of a followed loop."""
        self._recorder.break_loop()


def _or_traced(test: Any) -> Any:
    return lambda value: isinstance(value, TracedInt) or test(value)


def _asked_first(function: Any) -> Any:
    def apply(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_answer, args), **{name: _answer(value) for name, value in kwargs.items()})

    if hasattr(function, "jinja_pass_arg"):  # wants the environment or context as first argument
        apply.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return apply


def _answer(value: Any) -> Any:
    return bool(value) if isinstance(value, TracedFlag) else value


def _loop_context(iterable: Any, undefined: Any, *args: Any) -> Any:
    if isinstance(iterable, FollowedLoop):
        return iterable.with_loop(undefined)
    return LoopContext(iterable, undefined, *args)


class FollowedTemplate:
    """A template compiled for recording: its loops over messages are marked, and what they need of its variables.

    Args:
        environment: The recording environment.
        text: The template.
    """

    def __init__(self, environment: RecordingEnvironment, text: str) -> None:
        tree = environment.parse(text)
        self._environment = environment
        self._loads = _loads(tree)
        self._spans: dict[int, tuple[int, int]] = {}
        for number, loop in enumerate(_top_level_loops(tree.body)):
            last = max(node.lineno or 0 for node in (loop, *loop.find_all(nodes.Node)))
            self._spans[number] = (loop.lineno, last)
            for node in _breaks(loop.body):
                node.leaves_followed_loop = True  # type: ignore[attr-defined]
            loop.iter = nodes.Filter(
                loop.iter, _FOLLOW, [nodes.Const(number)], [], None, None, lineno=loop.lineno, environment=environment
            )
        self.template: jinja2.Template = environment.from_string(tree)
        self._frame: Any = None

    @property
    def has_loops(self) -> bool:
        """Whether there is a loop that can be followed."""
        return bool(self._spans)

    def watch(self, render: Any) -> None:
        """Remember the running render, whose variables decide in what context it goes on."""
        self._frame = render.gi_frame

    def record(
        self,
        messages: Sequence[Message],
        kinds: Sequence[int],
        tools: Any,
        constants: Mapping[str, Any],
        kwargs: Mapping[str, Any],
        *,
        asks_prompt: bool,
    ) -> tuple[list[Recorded], BaseException | None]:
        """Record one render; the second value is what it raised, if it did."""
        root: Context = ("root", tools is None)
        recorder = Recorder(messages, kinds, asks_prompt=asks_prompt, root=root, variables=self._variables)
        trace = recorder.trace
        variables = {
            **constants,
            **{name: wrap(trace, value, ("kwargs", name)) for name, value in kwargs.items()},
            "messages": MessageView(recorder, constant(0), ALL_STOP),
            "tools": wrap(trace, list(tools), ("tools",)) if tools is not None else None,
            "documents": None,
            "add_generation_prompt": TracedFlag(recorder.asks_prompt),
        }
        try:
            self._environment.record(self, recorder, variables)
        except UntraceableError:
            raise
        except Exception as error:
            recorder.end("raise")
            return recorder.segments, error
        finally:
            self._frame = None
        recorder.end("end")
        return recorder.segments, None

    def _variables(self, site: int, after: bool) -> dict[str, Any]:
        """Variables of the template that may still be read in a loop and after it, or only after it."""
        line = self._spans[site][1 if after else 0]
        return {
            name: value
            for name, value in self._frame.f_locals.items()
            if name.startswith("l_0_")
            and self._loads.get(name.removeprefix("l_0_"), 0) >= line
            and not _is_global(self._environment, name.removeprefix("l_0_"), value)
        }


def _is_global(environment: RecordingEnvironment, name: str, value: Any) -> bool:
    return name in environment.globals and environment.globals[name] is value


def _loads(tree: nodes.Template) -> dict[str, float]:
    """Where each name is read for the last time; names that macros read may be read anywhere."""
    last: dict[str, float] = {}
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load":
            last[name.name] = max(last.get(name.name, 0), name.lineno)
    for macro in tree.find_all((nodes.Macro, nodes.CallBlock)):
        for name in macro.find_all(nodes.Name):
            last[name.name] = float("inf")
    for reference in tree.find_all(nodes.NSRef):
        last[reference.name] = max(last.get(reference.name, 0), reference.lineno)
    return last


def _breaks(body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
    """Breaks out of a loop, not out of loops inside it."""
    for node in body:
        if type(node).__name__ == "Break":
            yield node
        elif not isinstance(node, nodes.For):
            yield from _breaks(list(node.iter_child_nodes()))


def _top_level_loops(body: Sequence[nodes.Node]) -> Iterator[nodes.For]:
    """Loops that no other construct but ``if`` is around, in which one iteration leaves nothing to the next."""
    for node in body:
        if isinstance(node, nodes.For) and not (node.test or node.recursive or node.else_):
            yield node
        elif isinstance(node, nodes.If):
            for part in (node.body, *(branch.body for branch in node.elif_), node.else_):
                yield from _top_level_loops(part)
