"""Loading the fast encoder of a tokenizer beside everything else.

Nothing but what that takes is imported here: NumPy and Arrow load while the encoder does.
"""

from contextlib import suppress
from threading import Thread
from typing import Any

import msgspec

from ifttool.tokenizer.locate import locate_tokenizer


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
    spec = msgspec.json.decode(msgspec.json.format(raw, indent=-1), type=dict[str, msgspec.Raw])
    absent = dict.fromkeys(("truncation", "padding", "post_processor"), msgspec.Raw(b"null"))
    return msgspec.json.encode({**spec, **absent}).decode()


def load_fast(text: str) -> Any:
    """The fast encoder of a ``tokenizer.json``."""
    import fastokens  # noqa: PLC0415 - it has no wheels for some platforms

    return fastokens.Tokenizer.from_json_str(text)
