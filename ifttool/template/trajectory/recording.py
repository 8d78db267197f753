"""The environment that records: the traced one, with loops over messages, ``loop`` and namespaces followed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import pass_environment
from jinja2.runtime import LoopContext

from ifttool.records import Message
from ifttool.template.environment import OPEN_TYPES
from ifttool.template.symbols import Piece
from ifttool.template.traced_code import FOLLOW, TracedCode
from ifttool.template.traced_containers import wrap
from ifttool.template.traced_environment import TracingEnvironment
from ifttool.template.traced_markup import UntraceableError
from ifttool.template.tracing import TracedStr
from ifttool.template.trajectory.affine import constant
from ifttool.template.trajectory.numbers import TracedFlag, TracedInt
from ifttool.template.trajectory.recorder import Context, Recorded, Recorder
from ifttool.template.trajectory.views import ALL_STOP, FollowedLoop, MessageView, SpyLoop, SpyNamespace

OPEN_TYPES.update((SpyLoop, SpyNamespace))


class RecordingEnvironment(TracingEnvironment):
    """Renders traced data into recordings. One at a time."""

    def __init__(self, *, clock: datetime) -> None:
        super().__init__(clock=clock)
        self._recorder: Recorder
        self.globals["namespace"] = lambda *args, **kwargs: SpyNamespace(self._recorder, *args, **kwargs)
        for name, position in (("first", 0), ("last", -1)):
            self.filters[name] = self._end(self.filters[name], position)
        for name in ("number", "integer"):
            self.tests[name] = _or_traced(self.tests[name])
        # C code and `is true` look at a value itself, so a flag must be asked before they do.
        for table in (self.tests, self.filters):
            for name, function in list(table.items()):
                if name not in ("default", "d", "defined", "undefined", FOLLOW):
                    table[name] = _asked_first(function)

    def _end(self, otherwise: Callable[..., Any], position: int) -> Callable[..., Any]:
        @pass_environment
        def end(environment: RecordingEnvironment, seq: Any) -> Any:
            if not isinstance(seq, MessageView):
                return otherwise(environment, seq)
            try:
                return seq.item(position)
            except IndexError:
                return self.undefined("No first item, sequence was empty.")

        return end

    def _follow(self, value: Any, loop: int) -> Any:
        return FollowedLoop(self._recorder, value, loop) if isinstance(value, MessageView) else value

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
    """A template that is recorded, and what its loops over messages need of its variables.

    Args:
        environment: The recording environment.
        code: The template.
    """

    def __init__(self, environment: RecordingEnvironment, code: TracedCode) -> None:
        self._environment = environment
        self._code = code
        self.template = code.bound_to(environment)
        self._frame: Any = None

    @property
    def has_loops(self) -> bool:
        """Whether there is a loop that can be followed."""
        return bool(self._code.loops)

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
        line = self._code.loops[site][1 if after else 0]
        return {
            name: value
            for name, value in self._frame.f_locals.items()
            if name.startswith("l_0_")
            and self._code.loads.get(name.removeprefix("l_0_"), 0) >= line
            and not _is_global(self._environment, name.removeprefix("l_0_"), value)
        }


def _is_global(environment: RecordingEnvironment, name: str, value: Any) -> bool:
    return name in environment.globals and environment.globals[name] is value
