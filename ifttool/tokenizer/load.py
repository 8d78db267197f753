"""Loading a tokenizer: ``tokenizer.json`` and what stands beside it.

Only ``tokenizer.json`` and plain configuration are read; nothing of a model folder is ever executed.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The Rust side may not spawn threads in a process that forks later (deadlock); workers are the parallelism here.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import msgspec
import tokenizers
from tokenizers import AddedToken

from ifttool.errors import TokenizerError
from ifttool.tokenizer.locate import SOURCES, locate_tokenizer
from ifttool.tokenizer.special_tokens import special_tokens

_MAX_FILE_BYTES = 256 * 1024 * 1024
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A loaded tokenizer.

    Attributes:
        name: The path as given, or ``default``.
        backend: The ``tokenizers`` object, truncation and padding switched off.
        special_tokens: What templates may read: ``bos_token``, ``eos_token``, ….
        added: Text of every added token → whether it is special.
        sha256: Digest of ``tokenizer.json``.
        folder: Where its files are, to be copied beside the shards.
    """

    name: str
    backend: tokenizers.Tokenizer
    special_tokens: dict[str, str]
    added: dict[str, bool]
    sha256: str
    folder: Path

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def id_of(self, token: str | None) -> int | None:
        """The id of a token, or None if the tokenizer has no such token."""
        return self.backend.token_to_id(token) if token is not None else None


def load_tokenizer(source: str) -> Tokenizer:
    """Load a tokenizer.

    Args:
        source: A folder with ``tokenizer.json``, the file itself, or ``default`` for the small one in the package.

    Raises:
        TokenizerError: It isn't there, can't be parsed, or asks for something that would corrupt shards silently.
    """
    path = locate_tokenizer(source)
    text, digest = _read(path)
    backend = _build(text, path)
    backend.no_truncation()
    backend.no_padding()
    # It only adds special tokens, which we never ask for, and trims offsets (GPT-NeoX), which would hide the space
    # that a token starts with.
    backend.post_processor = None
    named = special_tokens(path.parent)
    _add_missing(backend, named)
    added = {token.content: token.special for token in backend.get_added_tokens_decoder().values()}
    return Tokenizer(source, backend, named, added, digest, path.parent)


def token_added_in_front(source: str) -> str | None:
    """The token that a tokenizer as published puts in front of every text when it may; None if there is none.

    :func:`load_tokenizer` takes the post-processor off, which is what adds it.
    """
    as_published = tokenizers.Tokenizer.from_file(str(locate_tokenizer(source)))
    plain: list[str] = as_published.encode("a", add_special_tokens=False).tokens
    with_added: list[str] = as_published.encode("a", add_special_tokens=True).tokens
    return with_added[0] if with_added[:1] != plain[:1] else None


def check_tokenizer_file(path: Path) -> None:
    """Make sure that a file is a ``tokenizer.json`` that can be used, without building the tokenizer.

    Raises:
        TokenizerError: It isn't, or can't be read.
    """
    _refuse(_read_bytes(path), path)


class _Model(msgspec.Struct):
    """What is checked of a model. Its merges are most of the file, and left out here they are skipped quickly."""

    dropout: Any = None
    vocab: Any = None


class _Spec(msgspec.Struct):
    """What is checked of a ``tokenizer.json``."""

    model: _Model
    added_tokens: Any = None


def _read(path: Path) -> tuple[str, str]:
    """A file's text and digest.

    White space is half of it. Without that, and with the bytes gone before the tokenizer is built, loading takes 60 MB
    less where the fast encoder loads beside it.
    """
    raw = _read_bytes(path)
    _refuse(raw, path)
    try:
        text = msgspec.json.format(raw, indent=-1).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TokenizerError(f"tokenizer {path} can't be read: {error}") from error
    return text, hashlib.sha256(raw).hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise TokenizerError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"tokenizer {path} can't be read: {error}") from error


def _refuse(raw: bytes, path: Path) -> None:
    """Refuse what makes ids random or absurd; truncation and padding are merely switched off."""
    try:
        spec = msgspec.json.decode(raw, type=_Spec)
    except msgspec.ValidationError as error:
        raise TokenizerError(f"{path} isn't a tokenizer.json: it has no model", hint=SOURCES) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TokenizerError(
            f"{path} isn't a tokenizer.json: it can't be read as JSON ({error})", hint=SOURCES
        ) from error
    if spec.model.dropout:
        raise TokenizerError(
            f"{path} sets BPE dropout {spec.model.dropout}: the same text would give other ids every time",
            hint='set "dropout": null in its model',
        )
    ids = list(spec.model.vocab.values()) if isinstance(spec.model.vocab, dict) else []
    ids += [token.get("id") for token in spec.added_tokens or [] if isinstance(token, dict)]
    if not set(map(type, ids)) <= {int} or (ids and not 0 <= min(ids) <= max(ids) <= _MAX_ID):
        wrong = next(item for item in ids if type(item) is not int or not 0 <= item <= _MAX_ID)
        raise TokenizerError(f"{path} holds token id {wrong!r}; ids must lie in 0..{_MAX_ID}")


def _build(text: str, path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(text)
    except BaseException as error:  # a Rust panic isn't an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise TokenizerError(f"tokenizer {path} can't be loaded: {error}") from error


def _add_missing(backend: tokenizers.Tokenizer, named: dict[str, str]) -> None:
    """Add named special tokens that ``tokenizer.json`` lacks, as transformers does when it loads the folder."""
    for token in named.values():
        if backend.token_to_id(token) is None:
            backend.add_special_tokens([AddedToken(token, special=True, normalized=False)])
