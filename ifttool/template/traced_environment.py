"""The same environment, for traced data: nothing here changes what a template prints.

Jinja and the sandbox hand strings to C code in a few places where a ``str`` subclass would be flattened without a
word: ``"".join``, ``"const".method(traced)``, ``traced in "const"``, ``%``, and filters. Each of those doors is
taken here.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context, Undefined

from ifttool.template.environment import ChatEnvironment, tojson
from ifttool.template.symbols import Json, Piece
from ifttool.template.tracing import (
    Trace,
    TracedDict,
    TracedList,
    TracedStr,
    join,
    traced_strings,
)

# Filters that hand their input on untouched or use only operations that traced data follows by itself.
_TRANSPARENT_FILTERS = frozenset(
    "abs attr batch capitalize d default dictsort groupby items length count lower map max min reject rejectattr"
    " round select selectattr slice sort string sum trim unique upper first last list reverse".split()
)


class TracingCodeGenerator(CodeGenerator):
    """Compiles ``a in b`` to a call, since ``traced in "constant"`` never asks the traced side."""

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        if len(node.ops) != 1 or node.ops[0].op not in ("in", "notin"):
            super().visit_Compare(node, frame)
            return
        self.write("(not " if node.ops[0].op == "notin" else "(")
        self.write("environment.contains(")
        self.visit(node.expr, frame)
        self.write(", ")
        self.visit(node.ops[0].expr, frame)
        self.write("))")


class TracingEnvironment(ChatEnvironment):
    """Renders traced data into pieces. One render at a time: the current trace hangs on the environment."""

    code_generator_class = TracingCodeGenerator
    intercepted_binops = frozenset("%")

    def __init__(self, *, clock: datetime) -> None:
        super().__init__(clock=clock)
        self.trace = Trace()
        self._blocks = 0
        self.concat = self._concat  # type: ignore[method-assign]
        for name, function in list(self.filters.items()):
            if name not in _TRANSPARENT_FILTERS:
                self.filters[name] = self._unfollowed(function)
        self.filters.update(
            tojson=self._tojson,
            join=self._join,
            replace=self._replace,
            safe=lambda value: self.text_of(value),
            trim=lambda value, chars=None: self.text_of(value).strip(chars),
            string=self.text_of,
            length=self._length,
            count=self._length,
        )
        self.tests.update(
            {"iterable": self._is_iterable, "sequence": self._is_sequence, "in": self.contains}
        )

    def run(self, template: jinja2.Template, variables: dict[str, Any], trace: Trace) -> TracedStr:
        """Render once on traced variables; raises whatever the template raises."""
        self.trace, self._blocks = trace, 0
        module = template.root_render_func.__globals__
        module["str"] = self.text_of
        module["str_join"] = module["markup_join"] = self._concat
        return self._concat(template.root_render_func(template.new_context(variables)))

    # -- text ----------------------------------------------------------------------------------------------------

    def text_of(self, value: object) -> TracedStr:
        """``str(value)`` that doesn't lose track: containers of the data print as one piece of it."""
        if isinstance(value, TracedStr):
            return value
        if isinstance(value, TracedDict | TracedList):
            return self._subtree(value, ("repr",), repr(value.plain))
        if isinstance(value, dict | list | tuple) and any(traced_strings(value)):
            return self.trace.derive(repr(_untraced(value)), value)
        return self.trace.constant(str(value))

    def _concat(self, parts: Iterable[Any]) -> TracedStr:
        return join(self.trace, "", [self.text_of(part) for part in parts])

    def mark_generated(self, text: str) -> str:
        block = self._blocks
        self._blocks += 1
        pieces = self.text_of(text).pieces
        return TracedStr.of(
            self.trace,
            tuple(Piece(piece.node, piece.text, block) for piece in pieces) or (Piece("", "", block),),
        )

    def _subtree(self, value: TracedDict | TracedList, options: tuple[Any, ...], text: str) -> TracedStr:
        return TracedStr.of(self.trace, (Piece(Json(value.path, options), text),))

    # -- filters -------------------------------------------------------------------------------------------------

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> TracedStr:
        if separators is not None:  # a list in templates; options must be hashable
            separators = (separators[0], separators[1])
        options = (ensure_ascii, indent, separators, sort_keys)
        if isinstance(value, TracedDict | TracedList):
            return self._subtree(value, options, tojson(value.plain, *options))
        if indent is None and not sort_keys:
            comma, colon = separators or (", ", ": ")
            return join(self.trace, "", self._json_pieces(value, ensure_ascii, comma, colon))
        return self.trace.derive(tojson(_untraced(value), *options), value)

    def _json_pieces(
        self, value: Any, ascii_only: bool, comma: str, colon: str
    ) -> Iterator[TracedStr | str]:
        """JSON text of a container that the template put together from traced values."""
        if isinstance(value, TracedDict | TracedList):
            yield self._tojson(value, ascii_only, None, (comma, colon))
        elif isinstance(value, TracedStr):
            yield value._map("json", ascii_only)
        elif isinstance(value, dict):
            yield "{"
            for index, (key, item) in enumerate(value.items()):
                yield comma if index else ""
                text = key if isinstance(key, str) else tojson(key)
                yield from self._json_pieces(text, ascii_only, comma, colon)
                yield colon
                yield from self._json_pieces(item, ascii_only, comma, colon)
            yield "}"
        elif isinstance(value, list | tuple):
            yield "["
            for index, item in enumerate(value):
                yield comma if index else ""
                yield from self._json_pieces(item, ascii_only, comma, colon)
            yield "]"
        else:
            yield tojson(value, ascii_only)

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | None = None) -> TracedStr:
        items: Iterable[Any] = value
        if attribute is not None:
            items = [self.getitem(item, attribute) for item in value]
        return join(self.trace, d, [self.text_of(item) for item in items])

    def _replace(self, value: Any, old: str, new: str, count: int | None = None) -> TracedStr:
        limit = -1 if count is None else count
        return self.text_of(value).replace(old, new, limit)

    def _length(self, value: Any) -> int:
        return TracedLength(value) if isinstance(value, TracedStr) else len(value)

    def _unfollowed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that would flatten traced text: pin its inputs, run it on plain data, keep the owner."""

        def apply(*args: Any, **kwargs: Any) -> Any:
            inputs = [*args, *kwargs.values()]
            if not any(True for _ in traced_strings(inputs)):
                return function(*args, **kwargs)
            plain = function(
                *(_untraced(arg) for arg in args),
                **{name: _untraced(arg) for name, arg in kwargs.items()},
            )
            if isinstance(plain, str):
                return self.trace.derive(str(plain), inputs)
            for text in traced_strings(inputs):
                self.trace.fix(text)
            return plain

        # Jinja's own mark of filters that want the environment or context as first argument.
        if hasattr(function, "jinja_pass_arg"):
            apply.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
        return apply

    # -- tests and operators -------------------------------------------------------------------------------------

    def contains(self, left: Any, right: Any) -> bool:
        """``left in right``, also where ``right`` is plain text and ``left`` is traced."""
        if isinstance(left, TracedStr) and type(right) is str:
            return bool(self.trace.ask("within", left, right))
        return bool(left in right)

    def _is_iterable(self, value: Any) -> bool:
        if isinstance(value, str | dict | list):
            return True
        return bool(jinja2.tests.test_iterable(value))

    def _is_sequence(self, value: Any) -> bool:
        if isinstance(value, str | dict | list):
            return True
        return bool(jinja2.tests.test_sequence(value))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str) and any(True for _ in traced_strings((left, right))):
            return self.trace.derive(str.__str__(left) % _untraced(right), left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call for a template. A method of plain text with traced arguments becomes the traced method."""
        holder = getattr(__obj, "__self__", None)
        if type(holder) is str and any(True for _ in traced_strings((args, tuple(kwargs.values())))):
            __obj = getattr(__self.trace.constant(holder), __obj.__name__)
        return super().call(__context, __obj, *args, **kwargs)


class TracedLength(int):
    """A length of traced text: comparing it leaves the comparison as a guard, anything else the exact length."""

    _text: TracedStr

    def __new__(cls, text: TracedStr) -> "TracedLength":
        self = super().__new__(cls, str.__len__(text))
        self._text = text
        return self

    def _exact(self) -> int:
        return len(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return bool(self._text._trace.ask("length_eq", self._text, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._exact())

    def __lt__(self, other: int) -> bool:
        return bool(self._text._trace.ask("length_lt", self._text, other))

    def __le__(self, other: int) -> bool:
        return bool(self._text._trace.ask("length_le", self._text, other))

    def __gt__(self, other: int) -> bool:
        return not self <= other

    def __ge__(self, other: int) -> bool:
        return not self < other


def _exact_operator(name: str) -> Callable[..., Any]:
    inherited = getattr(int, name)

    def method(self: TracedLength, *args: Any) -> Any:
        return inherited(self._exact(), *args)

    return method


for _name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__mod__", "__rmod__",
              "__floordiv__", "__rfloordiv__", "__truediv__", "__rtruediv__", "__neg__", "__abs__", "__pow__",
              "__rpow__", "__int__", "__index__", "__float__", "__str__", "__repr__", "__format__"):  # fmt: skip
    setattr(TracedLength, _name, _exact_operator(_name))


def _untraced(value: Any) -> Any:
    """A value with every traced string and container replaced by its plain twin."""
    if isinstance(value, TracedStr):
        return str.__str__(value) + ""
    if isinstance(value, TracedDict | TracedList):
        return value.plain
    if isinstance(value, Undefined):
        return value
    if type(value) is dict:
        return {_untraced(key): _untraced(item) for key, item in value.items()}
    if type(value) is list:
        return [_untraced(item) for item in value]
    if type(value) is tuple:
        return tuple(_untraced(item) for item in value)
    return value
