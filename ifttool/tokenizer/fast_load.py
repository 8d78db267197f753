"""Loading the fast encoder of a tokenizer beside everything else.

Nothing but what that takes is imported here: NumPy and Arrow load while the encoder does.
"""

from contextlib import suppress
from threading import Thread
from typing import Any

import msgspec

from ifttool.tokenizer.locate import locate_tokenizer

_Parts = dict[str, msgspec.Raw]


class FastLoad:
    """The fast encoder of a tokenizer, loaded in a thread: it takes longer than all else at the start.

    Args:
        source: As for :func:`ifttool.tokenizer.load.load_tokenizer`.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._thread: Thread | None = None
        self._loaded: Any = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is None:
            self._thread = Thread(target=self._load)
            self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._thread is not None and not self._thread.is_alive()

    def result(self) -> Any:
        """What was loaded, waiting for it; None if the file can't be loaded like this: there are other ways."""
        self.start()
        if self._thread is not None:
            self._thread.join()
        return self._loaded

    def _load(self) -> None:
        with suppress(BaseException):  # a Rust panic isn't an Exception
            self._loaded = _load_file(self._source)


_ahead: dict[str, FastLoad] = {}


def load_ahead(source: str) -> None:
    """Begin to load the fast encoder of a tokenizer that is about to be asked for."""
    _ahead[source] = FastLoad(source)
    _ahead[source].start()


def fast_load(source: str) -> FastLoad:
    """What loads the fast encoder of a tokenizer: what :func:`load_ahead` began, or one that has yet to begin."""
    return _ahead.pop(source, None) or FastLoad(source)


def _load_file(source: str) -> Any:
    """The fast encoder of a file, changed as ``load_tokenizer`` changes what it loads."""
    return load_fast(_changed(locate_tokenizer(source).read_bytes()))


def _changed(raw: bytes) -> str:
    """A ``tokenizer.json`` without what cuts or adds tokens, and without white space, which is half of it."""
    spec = msgspec.json.decode(msgspec.json.format(raw, indent=-1), type=_Parts)
    model = msgspec.json.decode(spec["model"], type=_Parts)
    spaced = _spaced(bytes(model.get("merges", b"")))
    if spaced is not None:
        spec["model"] = msgspec.Raw(msgspec.json.encode({**model, "merges": msgspec.Raw(spaced)}))
    absent = dict.fromkeys(("truncation", "padding", "post_processor"), msgspec.Raw(b"null"))
    return msgspec.json.encode({**spec, **absent}).decode()


def _spaced(merges: bytes) -> bytes | None:
    """Merges that are pairs, each as one string: the older way to write them, and ``fastokens`` reads it faster.

    Qwen3's 151,387 load in 0.15 s less. A decoder would take most of that to make objects of them, so the text is cut
    at its quotes: what lies between is a pair's left, a comma, its right, what parts it from the next, and so on.

    Args:
        merges: JSON without white space.

    Returns:
        The same merges; None if they aren't pairs, or one of them holds a space, which couldn't be told from the one
        in the middle.
    """
    # Quotes and backslashes inside strings get their other spelling: then each quote begins or ends a string.
    parts = merges.replace(rb"\\", rb"\u005c").replace(rb"\"", rb"\u0022").split(b'"')
    count = len(parts) // 4
    commas, gaps = parts[2::4], parts[4:-1:4]
    is_of_pairs = parts[0] == b"[[" and parts[-1] == b"]]" and len(parts) == 4 * count + 1
    if not is_of_pairs or commas.count(b",") < count or gaps.count(b"],[") < count - 1:
        return None
    if b" " in merges or rb"\u0020" in merges:
        return None
    parts[0], parts[-1] = b'["', b'"]'
    parts[2::4], parts[4:-1:4] = [b" "] * count, [b'","'] * (count - 1)
    return b"".join(parts)


def load_fast(text: str) -> Any:
    """The fast encoder of a ``tokenizer.json``."""
    import fastokens  # noqa: PLC0415 - it has no wheels for some platforms

    return fastokens.Tokenizer.from_json_str(text)
