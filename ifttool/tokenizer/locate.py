"""Where a tokenizer is. Apart from :mod:`ifttool.tokenizer.load`, since its fast encoder loads before all else."""

from pathlib import Path

from ifttool.errors import TokenizerError

DEFAULT_TOKENIZER = "default"
SOURCES = "give a folder that holds tokenizer.json, the file itself, or 'default'"
"""What a source may be, for hints."""


def locate_tokenizer(source: str) -> Path:
    """The ``tokenizer.json`` that a source names.

    Raises:
        TokenizerError: There is none.
    """
    if source == DEFAULT_TOKENIZER and not Path(source).exists():
        return Path(__file__).parent / "default" / "tokenizer.json"
    path = Path(source)
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(f"no tokenizer at {source}", hint=SOURCES)
    return path
