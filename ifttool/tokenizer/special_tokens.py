"""The named special tokens that ``transformers`` hands to a chat template, read from a tokenizer's files."""

import json
from pathlib import Path
from typing import Any

from ifttool.errors import TokenizerError

STANDARD_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""``PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES`` of transformers 5.23, in its order."""


def special_tokens(folder: Path) -> dict[str, str]:
    """Read the special tokens a chat template can name, such as ``bos_token``.

    Follows ``special_tokens_map`` of transformers 5.23: the standard names, then the model's own (any other
    ``*_token`` entry, and ``extra_special_tokens`` where it is a mapping). Lists of extra tokens have no names
    and aren't part of it. ``special_tokens_map.json`` counts only if ``tokenizer_config.json`` has no
    ``added_tokens_decoder``, and then wins over it. Tokens that only the tokenizer's Python class knows, as
    defaults of its constructor, are in no file and aren't found.

    Args:
        folder: The tokenizer's folder. Missing files count as empty.

    Returns:
        Name → token text. Names with a null value are left out, so templates see them as undefined.

    Raises:
        TokenizerError: A file isn't JSON, or a token isn't text.
    """
    config_path = folder / "tokenizer_config.json"
    map_path = folder / "special_tokens_map.json"
    config = _read_object(config_path)
    tokens = _named_tokens(config, config_path)
    if "added_tokens_decoder" not in config:
        tokens |= _named_tokens(_read_object(map_path), map_path)
    standard = {name: tokens[name] for name in STANDARD_NAMES if name in tokens}
    return standard | tokens


def _named_tokens(config: dict[str, Any], path: Path) -> dict[str, str]:
    entries = {
        # Switches such as add_bos_token end in _token too.
        name: value
        for name, value in config.items()
        if name.endswith("_token") and not isinstance(value, bool)
    }
    extra = config.get("extra_special_tokens")
    if isinstance(extra, dict):
        entries |= extra
    return {name: _token_text(name, value, path) for name, value in entries.items() if value is not None}


def _token_text(name: str, value: Any, path: Path) -> str:
    match value:
        case str(text) | {"content": str(text)}:
            return text
        case _:
            raise TokenizerError(f"{path}: {name} is neither text nor a token with content")


def _read_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise TokenizerError(f"{path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} isn't valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} isn't a JSON object")
    return value
