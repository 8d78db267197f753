"""The same environment, for traced data: nothing here changes what a template prints.

Jinja and the sandbox hand strings to C code in a few places where a ``str`` subclass would be flattened without a
word: ``"".join``, ``"const".method(traced)``, ``traced in "const"``, ``%``, and filters. Each of those doors is
taken here.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2.filters import do_format
from jinja2.runtime import Context, Undefined
from markupsafe import Markup

from ifttool.template.environment import ChatEnvironment, tojson
from ifttool.template.symbols import Piece
from ifttool.template.traced_code import FOLLOW, TracingCodeGenerator
from ifttool.template.traced_containers import TracedDict, TracedList, subtree
from ifttool.template.traced_format import brace_parts, percent_parts
from ifttool.template.traced_length import TracedLength
from ifttool.template.traced_markup import TracedMarkup, UntraceableError, as_markup, escaped
from ifttool.template.traced_split import SplitResult
from ifttool.template.tracing import Trace, TracedStr, join, traced_strings

# Filters that hand their input on untouched or use only operations that traced data follows by itself.
_TRANSPARENT_FILTERS = frozenset(
    "abs attr batch capitalize d default dictsort groupby items length count lower map max min reject rejectattr"
    " round select selectattr slice sort string sum trim unique upper first last list reverse".split()
)


_PLAIN_TYPES: dict[type, type] = {
    TracedStr: str,
    TracedMarkup: str,
    TracedDict: dict,
    TracedList: list,
    SplitResult: list,
}


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
            format=self._format,
            replace=self._replace,
            safe=lambda value: as_markup(self.text_of(value)),
            escape=lambda value: escaped(self.text_of(value, keep_markup=True)),
            e=lambda value: escaped(self.text_of(value, keep_markup=True)),
            trim=lambda value, chars=None: self.text_of(value, keep_markup=True).strip(chars),
            string=lambda value: self.text_of(value, keep_markup=True),
            length=self._length,
            count=self._length,
            **{FOLLOW: self._follow},
        )
        self.tests.update(
            {
                "iterable": self._is_iterable,
                "sequence": self._is_sequence,
                "in": self.contains,
                "number": lambda value: isinstance(value, TracedLength) or jinja2.tests.test_number(value),
                "integer": lambda value: isinstance(value, TracedLength) or jinja2.tests.test_integer(value),
            }
        )
        self.globals["strftime_now"] = self._strftime_now
        self._clock = clock

    def run(self, template: jinja2.Template, variables: dict[str, Any], trace: Trace) -> TracedStr:
        """Render once on traced variables; raises whatever the template raises."""
        self.trace, self._blocks = trace, 0
        self.take_doors(template)
        return self._concat(template.root_render_func(template.new_context(variables)))

    def take_doors(self, template: jinja2.Template) -> dict[str, Any]:
        """Put traced functions where a compiled template would flatten text; gives the names that it looks up."""
        module: dict[str, Any] = template.root_render_func.__globals__
        module["str"] = self.text_of
        module["str_join"] = self._concat
        # What the reference folds into a constant may be Markup: `"'\\n"|safe`.
        module["Markup"] = lambda text: as_markup(self.text_of(text))
        # Only `{% autoescape %}` leads there; no published template has it.
        module["escape"] = module["markup_join"] = _untraceable
        return module

    # -- text ----------------------------------------------------------------------------------------------------

    def text_of(self, value: object, *, keep_markup: bool = False) -> TracedStr:
        """``str(value)`` that doesn't lose track: containers of the data print as one piece of it.

        ``keep_markup`` makes it Jinja's ``soft_str``: Markup stays Markup.
        """
        if isinstance(value, TracedMarkup) and not keep_markup:
            return TracedStr.of(self.trace, value.pieces)
        if type(value) in (dict, list, tuple) and _has_traced(value):
            return self.trace.derive(repr(_untraced(value)), value)
        text = value if isinstance(value, str) else str(value)
        return text if isinstance(text, TracedStr) else self.trace.constant(text)

    def _concat(self, parts: Iterable[Any]) -> TracedStr:
        return join(self.trace, "", [self.text_of(part) for part in parts])

    def mark_generated(self, text: str) -> str:
        block = self._blocks
        self._blocks += 1
        pieces = self.text_of(text).pieces
        return TracedStr.of(self.trace, tuple(Piece(piece.node, piece.text, block) for piece in pieces))

    def leave_loop(self) -> None:
        """Called by a compiled template where it breaks out of a loop over messages."""

    # -- filters -------------------------------------------------------------------------------------------------

    def _follow(self, value: Any, loop: int) -> Any:
        """What a top-level loop goes over; the number is that of the loop."""
        return value

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
            return subtree(self.trace, value, options, tojson(value.plain, *options))
        if indent is None and not sort_keys:
            comma, colon = separators or (", ", ": ")
            return join(self.trace, "", self._json_pieces(value, ensure_ascii, comma, colon))
        return self.trace.derive(tojson(_untraced(value), *options), value)

    def _json_pieces(self, value: Any, ascii_only: bool, comma: str, colon: str) -> Iterator[TracedStr | str]:
        """JSON text of a container that the template put together from traced values."""
        if isinstance(value, TracedDict | TracedList):
            yield self._tojson(value, ascii_only, None, (comma, colon))
        elif isinstance(value, TracedStr):
            yield value.mapped("json", ascii_only)
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
            yield tojson(_untraced(value), ascii_only)

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | None = None) -> TracedStr:
        items: Iterable[Any] = value
        if attribute is not None:
            items = [self.getitem(item, attribute) for item in value]
        return join(self.trace, d, [self.text_of(item) for item in items])

    def _replace(self, value: Any, old: str, new: str, count: int | None = None) -> TracedStr:
        limit = -1 if count is None else count
        return self.text_of(value).replace(old, new, limit)

    def _length(self, value: Any) -> "int | TracedLength":
        return TracedLength(value) if isinstance(value, TracedStr) else len(value)

    def _unfollowed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that would flatten traced text: pin its inputs, run it on plain data, keep the owner."""

        def apply(*args: Any, **kwargs: Any) -> Any:
            inputs = [*args, *kwargs.values()]
            plain = function(
                *(_untraced(arg) for arg in args),
                **{name: _untraced(arg) for name, arg in kwargs.items()},
            )
            if isinstance(plain, str):
                text = self.trace.derive(str(plain), inputs)
                return as_markup(text) if isinstance(plain, Markup) else text
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
        if isinstance(left, TracedMarkup):
            raise UntraceableError("`%` on Markup")
        if isinstance(left, str) and _has_traced((left, right)):
            return self._formatted(str.__str__(left) % _untraced(right), percent_parts(left, right), left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call for a template. A method of plain text with traced arguments becomes the traced method."""
        holder = getattr(__obj, "__self__", None)
        # An iterator doesn't show what is in it, so every `join` is taken.
        if type(holder) is str and (__obj.__name__ == "join" or _has_traced((args, kwargs))):
            __obj = getattr(__self.trace.constant(holder), __obj.__name__)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., Any] | None:
        """``text.format(...)`` by the sandbox's formatter."""
        holder = getattr(value, "__self__", None)
        if not isinstance(holder, str) or getattr(value, "__name__", "") not in ("format", "format_map"):
            return None
        formatter = super().wrap_str_format(getattr(str(_untraced(holder)), value.__name__))
        if formatter is None or isinstance(holder, TracedMarkup):
            raise UntraceableError("`format` that isn't followed")

        def apply(*args: Any, **kwargs: Any) -> TracedStr:
            plain = formatter(*_untraced(args), **_untraced(kwargs))
            parts = brace_parts(holder, args, kwargs) if value.__name__ == "format" else None
            return self._formatted(plain, parts, holder, args, kwargs)

        return apply

    def _format(self, value: Any, *args: Any, **kwargs: Any) -> TracedStr:
        """The filter ``format``, which is ``%``."""
        plain = do_format(_untraced(value), *_untraced(args), **_untraced(kwargs))
        if isinstance(plain, Markup):
            return as_markup(self.trace.derive(str(plain), value, args, kwargs))
        text = self.text_of(value)
        return self._formatted(plain, percent_parts(text, kwargs or args), text, args, kwargs)

    def _formatted(self, plain: str, parts: Iterable[Any] | None, *inputs: object) -> TracedStr:
        """Text that a format string makes of its inputs: the parts it puts side by side, if that is all it does."""
        joined = None if parts is None else self._concat(parts)
        return joined if joined is not None and str.__str__(joined) == plain else self.trace.derive(plain, *inputs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``obj.attribute``; what traced types have beyond ``str``, ``dict`` and ``list`` isn't there."""
        plain = _PLAIN_TYPES.get(type(obj))
        if plain is not None and not hasattr(plain, attribute):
            return self.getitem(obj, attribute) if plain is dict else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def _strftime_now(self, pattern: str) -> TracedStr:
        return self.trace.derive(self._clock.strftime(_untraced(pattern)), pattern)


def _untraceable(*args: Any) -> Any:
    raise UntraceableError("autoescape")


def _has_traced(value: object) -> bool:
    return any(True for _ in traced_strings(value))


def _untraced(value: Any) -> Any:
    """A value with every traced string and container replaced by its plain twin."""
    if isinstance(value, TracedStr):
        plain = str.__str__(value)
        return Markup(plain) if isinstance(value, TracedMarkup) else plain
    if isinstance(value, TracedLength):
        return int(value)
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
