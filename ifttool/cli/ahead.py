"""What a command will need for certain, begun before its words are parsed.

To import Typer and what it parses with takes a quarter of a second. Meanwhile the encoder of a large tokenizer can
load, which takes longer than all else at the start and needs no Python. This only guesses from the words: a wrong
guess costs a little time of another core, and never changes what a command does.
"""

from collections.abc import Sequence

from ifttool.io.sizes import is_large

_COMMANDS = ("mask", "tokenize", "unroll")
_TOKENIZER = "--tokenizer"
_BY_REFERENCE = ("tokenizers", "--backend=tokenizers")


def begin(words: Sequence[str]) -> None:
    """Begin to load the fast encoder of the tokenizer that a command line names, if there is much to encode.

    Args:
        words: The command line, without the program.
    """
    if not words or words[0] not in _COMMANDS or any(word in words for word in _BY_REFERENCE):
        return
    source = _tokenizer_in(words)
    if source is not None and is_large([word for word in words if word != source]):
        from ifttool.tokenizer.fast_load import load_ahead

        load_ahead(source)


def _tokenizer_in(words: Sequence[str]) -> str | None:
    """The tokenizer that a command line names; of several the last one, as the parser does."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == _TOKENIZER:
            found = following
        elif word.startswith(f"{_TOKENIZER}="):
            found = word.partition("=")[2]
    return found
