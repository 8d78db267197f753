"""Content given as text parts that a template doesn't print: it would be lost without a word.

Qwen3's template, among others, takes content that isn't a string for empty. A server flattens parts for such a
template, so a model would be trained on conversations that it never sees.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from ifttool.errors import RowError
from ifttool.records import Message

# What templates that print content by a filter write in another way: JSON, HTML, trimmed or not.
_REWRITTEN = re.compile(r"""[\s"'\\<>&\x00-\x1f]+""")


def refuse_lost_parts(messages: Sequence[Message], text: str) -> None:
    """Refuse a conversation with a message of parts none of which is in its render.

    Args:
        messages: The messages.
        text: Their render.

    Raises:
        RowError: ``IFT305``.
    """
    for index, message in enumerate(messages):
        content = message.get("content")
        if content.__class__ is list and content and not any(_is_in(part, text) for part in content):
            raise RowError(
                "IFT305",
                "the template prints nothing of content that is given in parts",
                path=f"messages[{index}].content",
                hint="write the content as a string",
            )


def _is_in(part: Any, text: str) -> bool:
    """Whether a text part is in a render, or says too little to tell."""
    said = part.get("text") if isinstance(part, dict) else None
    if not isinstance(said, str) or said in text:
        return True
    longest = max(_REWRITTEN.split(said), key=len)
    return longest in text or json.dumps(longest)[1:-1] in text
