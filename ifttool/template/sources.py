"""Where a chat template's text comes from: a file, a tokenizer folder, a built-in, the Hugging Face Hub.

Folders resolve as ``transformers`` 5.23 does (``PreTrainedTokenizerBase._from_pretrained``): if there is a
``chat_template.jinja`` or an ``additional_chat_templates/*.jinja``, those are all the templates there are, and
``chat_template`` in ``tokenizer_config.json`` isn't looked at. Line ends are read as it reads them: ``\\r\\n`` and
``\\r`` in a file become ``\\n``. (Jinja does the same to what is left, so they never reach the output.)
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ifttool.errors import TemplateError

MAX_TEMPLATE_BYTES = 1024 * 1024
"""The largest published template is about 40 kB; what is larger than this is no chat template."""

MAX_CONFIG_BYTES = 16 * 1024 * 1024
"""Of a ``tokenizer_config.json``. Real ones reach a few MB, through their list of added tokens."""

_TEMPLATE_FILE = "chat_template.jinja"
_NAMED_TEMPLATES_DIR = "additional_chat_templates"
_CONFIG_FILE = "tokenizer_config.json"
_DEFAULT = "default"
_TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2", ".json", ".txt")
# Long enough for the first tag of any template, and for the first rows of most data.
_HEAD_BYTES = 1 << 16
_JSON_START = re.compile(rb'\{\s*"|\[\s*[\[{"]')
_DATA_HINT = (
    "name a template: a built-in, a .jinja file, a tokenizer folder or a hub id; "
    "`ifttool templates doctor TEMPLATE DATA` tries one on conversations"
)
_CONFIG_HINT = f"a .json file is read as a tokenizer_config.json; else {_DATA_HINT}"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

Origin = Literal["builtin", "file", "tokenizer", "hub"]


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A chat template's text and where it comes from.

    Attributes:
        text: The template, with ``\\n`` line ends if it was read from a file of its own.
        name: A built-in's name, the path as given, ``tokenizer:FOLDER`` (the folder's own name) or the Hub
            id; with ``#NAME`` behind it for a named template other than ``default``.
        origin: What kind of place it is.
        sha256: Hex digest of ``text`` in UTF-8: two copies that differ in line ends only have the same.
    """

    text: str
    name: str
    origin: Origin
    sha256: str


def builtin_names() -> list[str]:
    """Names of the built-in templates, sorted."""
    return sorted(path.stem for path in _builtin_folder().glob("*.jinja"))


def load_template(spec: str, *, name: str | None = None) -> TemplateSource:
    """Find a chat template.

    What exists as a path wins, then a built-in's name, then a Hub id.

    Args:
        spec: Path of a template file, of a tokenizer folder or of its ``tokenizer_config.json``; the name of
            a built-in; or ``org/name`` on the Hub (needs the extra ``ifttool[hub]``).
        name: Which template of a tokenizer that has several, such as ``tool_use``. None takes ``default``;
            ``transformers`` takes ``tool_use`` by itself for conversations with tools; here the caller decides.

    Raises:
        TemplateError: There is no such template, it can't be read, it is too large or it isn't text; or the
            tokenizer has several and none is named.
    """
    if "{%" in spec or "{{" in spec:
        raise TemplateError("the template itself was given, not where it is", hint="put it into a file")
    path = _existing(spec)
    if path is not None and path.is_dir():
        label = f"tokenizer:{path.resolve().name}"
        return _pick(_templates_of_folder(path), name=name, label=label, origin="tokenizer")
    if path is not None:
        return _load_file(path, spec, name=name)
    if spec in builtin_names():
        _refuse_name(spec, name)
        text = _read_text(_builtin_folder() / f"{spec}.jinja")
        return _source(text, name=spec, origin="builtin")
    looks_like_path = spec.startswith((".", "/", "~")) or spec.endswith(_TEMPLATE_SUFFIXES)
    if _HUB_ID.fullmatch(spec) and not looks_like_path:
        templates = _templates_of_folder(_fetch_from_hub(spec))
        return _pick(templates, name=name, label=spec, origin="hub")
    if looks_like_path or "/" in spec:
        raise TemplateError(f"{spec}: no such file or folder", hint="check the path of the template")
    raise TemplateError(f"there is no built-in template {spec!r}", hint=_nearest(spec))


def _existing(spec: str) -> Path | None:
    try:
        path = Path(spec).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, no such user
        return None


def _builtin_folder() -> Path:
    """The folder of built-in templates: inside the package in a wheel, beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    in_wheel = package / "templates"
    return in_wheel if in_wheel.is_dir() else package.parent / "templates"


def _refuse_data(data: bytes, path: Path) -> None:
    """Refuse a file of conversations: as a template it would print itself, whatever the conversation.

    Raises:
        TemplateError: The file holds JSON. Templates that write JSON by hand have tags in it.
    """
    head = data.lstrip()[:_HEAD_BYTES]
    if not _JSON_START.match(head):
        return
    try:
        json.loads(head.partition(b"\n")[0])
    except (ValueError, RecursionError):
        if b"{%" in head or b"{{" in head:
            return
    raise TemplateError(f"{path} holds JSON, not a chat template", hint=_DATA_HINT)


def _load_file(path: Path, spec: str, *, name: str | None) -> TemplateSource:
    if path.suffix == ".json":
        templates = _templates_of_config(path)
        label = f"tokenizer:{path.resolve().parent.name}"
        return _pick(templates, name=name, label=label, origin="tokenizer")
    _refuse_name(spec, name)
    return _source(_read_text(path), name=spec, origin="file")


def _templates_of_folder(folder: Path) -> dict[str, str]:
    """Named templates of a tokenizer folder; the unnamed one is ``default``."""
    files = {path.stem: path for path in sorted((folder / _NAMED_TEMPLATES_DIR).glob("*.jinja"))}
    # A named file called default.jinja is read after chat_template.jinja by transformers, and replaces it.
    if (folder / _TEMPLATE_FILE).exists():
        files = {_DEFAULT: folder / _TEMPLATE_FILE} | files
    if files:
        return {name: _read_text(path) for name, path in files.items()}
    if not (folder / _CONFIG_FILE).exists():
        raise TemplateError(
            f"{folder} has no {_TEMPLATE_FILE} and no {_CONFIG_FILE}",
            hint="give a tokenizer folder, a template file or the name of a built-in template",
        )
    return _templates_of_config(folder / _CONFIG_FILE)


def _templates_of_config(path: Path) -> dict[str, str]:
    value = _read_json(path).get("chat_template")
    if value is None:
        raise TemplateError(
            f"{path} has no chat_template",
            hint="base models have none: name a template, such as chatml",
        )
    if isinstance(value, str):
        return {_DEFAULT: value}
    if isinstance(value, dict):
        value = [{"name": name, "template": text} for name, text in value.items()]
    templates: dict[str, str] = {}
    for entry in value if isinstance(value, list) else [value]:
        match entry:
            case {"name": str(name), "template": str(text)}:
                templates[name] = text
            case _:
                raise TemplateError(f"{path}: chat_template is neither text nor a list of names and templates")
    return templates


def _pick(templates: dict[str, str], *, name: str | None, label: str, origin: Origin) -> TemplateSource:
    listed = ", ".join(sorted(templates)) or "none"
    if name is not None and name not in templates:
        raise TemplateError(f"{label} has no template {name!r}", hint=f"it has: {listed}")
    if name is None and _DEFAULT not in templates:
        raise TemplateError(f"{label} has named templates but no default", hint=f"name one of: {listed}")
    chosen = name or _DEFAULT
    full_name = label if chosen == _DEFAULT else f"{label}#{chosen}"
    return _source(templates[chosen], name=full_name, origin=origin)


def _source(text: str, *, name: str, origin: Origin) -> TemplateSource:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise TemplateError(f"{name}: the template has a lone surrogate, which isn't text") from error
    if len(data) > MAX_TEMPLATE_BYTES:
        raise TemplateError(f"{name}: the template is larger than {MAX_TEMPLATE_BYTES} bytes")
    digest = hashlib.sha256(data).hexdigest()
    return TemplateSource(text=text, name=name, origin=origin, sha256=digest)


def _refuse_name(spec: str, name: str | None) -> None:
    if name is not None:
        raise TemplateError(
            f"{spec} is one template, so there is none called {name!r} in it",
            hint="template names are for tokenizers that have several",
        )


def _read_text(path: Path) -> str:
    data = _read_bytes(path, limit=MAX_TEMPLATE_BYTES, check=_refuse_data)
    if data.startswith(b"\xef\xbb\xbf"):
        # Python's utf-8 keeps the mark, so transformers prints it at the start of every conversation.
        raise TemplateError(
            f"{path} starts with a byte order mark, which would be printed into every conversation",
            hint="save the file as UTF-8 without BOM",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise TemplateError(
            f"{path} isn't UTF-8 (byte {error.start})", hint="a template is a text file in UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_json(path: Path) -> dict[str, Any]:
    data = _read_bytes(path, limit=MAX_CONFIG_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{path} isn't valid JSON: {error}", hint=_CONFIG_HINT) from error
    if not isinstance(value, dict):
        raise TemplateError(f"{path} isn't a JSON object", hint=_CONFIG_HINT)
    return value


def _read_bytes(path: Path, *, limit: int, check: Callable[[bytes, Path], None] | None = None) -> bytes:
    """Read at most ``limit`` bytes; reading, not asking for the size, also holds for pipes and devices.

    What ``check`` says of the bytes goes before their being too many.
    """
    try:
        with path.open("rb") as file:
            data: bytes = file.read(limit + 1)
    except OSError as error:
        raise TemplateError(f"{path} can't be read: {error.strerror or error}") from error
    if check is not None:
        check(data, path)
    if len(data) > limit:
        raise TemplateError(f"{path} is larger than {limit} bytes")
    return data


def _fetch_from_hub(repo: str) -> Path:
    """Download the template files of a Hub repository into the Hub's own cache.

    Raises:
        TemplateError: ``huggingface_hub`` isn't installed or the download failed.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise TemplateError(
            f"{repo}: no such file or folder, and Hub downloads need huggingface_hub",
            hint="check the path, or pip install 'ifttool[hub]'",
        ) from error
    patterns = [_TEMPLATE_FILE, f"{_NAMED_TEMPLATES_DIR}/*.jinja", _CONFIG_FILE]
    try:
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=patterns))
    except Exception as error:
        # Some are its own, some its HTTP client's, which isn't the same in all versions: no common root.
        reason = str(error).strip().partition("\n")[0]
        raise TemplateError(
            f"{repo} can't be fetched from the Hub: {reason}",
            hint="check the id and the network; a private or gated repository needs a login",
        ) from error


def _nearest(spec: str) -> str:
    names = builtin_names()
    close = difflib.get_close_matches(spec.lower(), names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"built-in: {', '.join(names)}"
