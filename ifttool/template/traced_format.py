"""Format strings taken apart, so that what a template writes around text of the data stays the template's own.

``'<|im_start|>%s' % message.role`` and ``'<|{}|>'.format(message.role)`` only put text side by side, as ``~`` does.
"""

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from ifttool.template.tracing import TracedStr

_PERCENT = re.compile(r"%(?:%|(?:\((\w+)\))?s)")


def percent_parts(template: str, values: Any) -> list[Any] | None:
    """What ``template % values`` puts side by side: strings and values.

    Args:
        template: The format string.
        values: A tuple, a mapping, or the only value.

    Returns:
        None where it does more than that, or fails.
    """
    text = _own_text(template)
    if text is None or "%" in _PERCENT.sub("", text):
        return None
    left = list(values) if isinstance(values, tuple) else [values]
    parts: list[Any] = []
    end = 0
    for match in _PERCENT.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match.group() == "%%":
            parts.append("%")
        elif match[1] is None:
            if not left:
                return None
            parts.append(left.pop(0))
        elif isinstance(values, Mapping) and match[1] in values:
            parts.append(values[match[1]])
        else:
            return None
    return [*parts, text[end:]]


def brace_parts(template: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any] | None:
    """The same of ``template.format(*args, **kwargs)``."""
    text = _own_text(template)
    if text is None:
        return None
    parts: list[Any] = []
    left = list(args)
    for literal, field, spec, conversion in Formatter().parse(text):
        parts.append(literal)
        if field is None:
            continue
        if spec or conversion:
            return None
        if field in kwargs:
            parts.append(kwargs[field])
        elif field == "" and left:
            parts.append(left.pop(0))
        elif field.isdecimal() and int(field) < len(args):
            parts.append(args[int(field)])
        else:
            return None
    return parts


def _own_text(template: str) -> str | None:
    """A format string as plain text; None if it isn't the template's own."""
    if isinstance(template, TracedStr) and not all(isinstance(node, str) for node in template.nodes):
        return None
    return str.__str__(template)
