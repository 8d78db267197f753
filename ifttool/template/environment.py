"""The Jinja environment of chat templates: what ``transformers`` gives them, and nothing else.

Source of the behaviour: ``transformers.utils.chat_template_utils`` 5.23 (sandboxed and immutable, ``trim_blocks``,
``lstrip_blocks``, loop controls, ``{% generation %}``, ``raise_exception``, ``strftime_now``, its ``tojson``).
Two differences, both on purpose: the clock is pinned, and ``lipsum`` and ``random`` are gone because a shard must
not depend on chance.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as loop_controls
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ifttool.errors import TemplateError

MAX_TEMPLATE_CHARS = 1_000_000
_NONDETERMINISTIC = ("lipsum",)
_DICT_ATTRIBUTES = frozenset(dir(dict))
# Jinja's own objects, whose public attributes the sandbox allows without exception.
OPEN_TYPES: set[type] = {LoopContext}


class TemplateRaisedError(jinja2.TemplateError):
    """The template called ``raise_exception``: its own words about the conversation."""


class GenerationBlock(Extension):
    """``{% generation %}…{% endgeneration %}``: the template's own mark of what the model writes."""

    tags = {"generation"}  # noqa: RUF012 - the name and type jinja2 reads

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("generated"), [], [], body).set_lineno(line)

    def generated(self, caller: Callable[[], str]) -> str:
        """The block's text, handed to the environment so that a tracing one can note where it goes."""
        environment = self.environment
        assert isinstance(environment, ChatEnvironment)
        return environment.mark_generated(caller())


def has_generation_tags(tree: nodes.Template) -> bool:
    """Whether a parsed template marks anywhere what the model writes."""
    calls = tree.find_all(nodes.ExtensionAttribute)
    return any(call.identifier == GenerationBlock.identifier for call in calls)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The reference environment: renders exactly as ``transformers.apply_chat_template`` does."""

    def __init__(self, *, clock: datetime) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loop_controls])
        self.filters["tojson"] = tojson
        self.filters.pop("random")
        for name in _NONDETERMINISTIC:
            self.globals.pop(name)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = clock.strftime
        self.globals["dict"] = _DictFactory()
        self.globals["namespace"] = _GuardedNamespace

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``obj.attribute``, with the way cut short that nearly all look-ups take: a key of a dict.

        A dict's own attributes come first in Jinja, so only names that no dict has are looked up at once. The
        sandbox's checks are for the others (they cost more than the look-up, 40% of a render).
        """
        if isinstance(obj, dict) and attribute not in _DICT_ATTRIBUTES:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if type(obj) in OPEN_TYPES and not attribute.startswith("_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                pass
        return super().getattr(obj, attribute)

    def mark_generated(self, text: str) -> str:
        """Text of a generation block; the reference environment has no use for the mark."""
        return text


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The ``tojson`` that chat templates are written for: no HTML escaping, key order kept."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise TemplateRaisedError(str(message))


class _DictFactory:
    """``dict(...)`` in templates, without the attributes of the type itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _GuardedNamespace(Namespace):
    """``namespace(...)`` that refuses underscore names, as transformers does against sandbox escapes."""

    # Jinja's own trick: no named parameter, so that `namespace(self=...)` works.
    def __init__(*args: Any, **kwargs: Any) -> None:
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            refuse_underscore(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        refuse_underscore(name)
        super().__setitem__(name, value)


OPEN_TYPES.add(_GuardedNamespace)


def refuse_underscore(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace can't hold {name!r}: names with a leading underscore are refused")


@contextmanager
def compiling(text: str, *, name: str) -> Iterator[None]:
    """What goes wrong while a chat template is compiled, as an error of ours.

    Raises:
        TemplateError: The text is too large or isn't a template; the message names the line.
    """
    if len(text) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"chat template {name} has {len(text)} characters; the limit is {MAX_TEMPLATE_CHARS}")
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{name}:{error.lineno}: {error.message}") from error
    except (RecursionError, SyntaxError, MemoryError, OverflowError) as error:
        raise TemplateError(f"chat template {name} can't be compiled: {type(error).__name__}") from error
