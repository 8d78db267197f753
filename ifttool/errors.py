"""The error tree. One root, one exit code a branch; text is made of an error in one place (``cli``).

::

    IfttoolError
    ├── UsageError          2  options, paths, templates or tokenizers that can't be used; nothing was written
    │   ├── TemplateError   2  a template that doesn't load, compile or fit the tokenizer
    │   └── TokenizerError  2  a tokenizer that doesn't load or is refused
    ├── RowError            1  one input row can't become a sample: it is rejected, the others go on
    └── RunError            3  I/O or internal failure; what was finished stays whole
        └── InputChanged    3  a stream that ended early or changed while it was read
"""

from typing import Any, ClassVar


class IfttoolError(Exception):
    """Root of every error that ifttool raises on purpose.

    Args:
        message: What is wrong, in words a user understands, naming the file or option.
        hint: The next step, or an empty string.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(IfttoolError):
    """Options, paths or files that can't be used. Raised before anything is written."""

    exit_code = 2


class TemplateError(UsageError):
    """A chat template that doesn't load, doesn't compile or doesn't fit the tokenizer."""


class TokenizerError(UsageError):
    """A tokenizer that doesn't load or is refused."""


class RowError(IfttoolError):
    """One input row that can't become a sample. It is rejected; the others go on.

    Args:
        code: A stable code of ``ifttool.findings.CODES``, such as ``IFT102``.
        message: What is wrong.
        path: Where in the row, such as ``messages[2].role``; empty when the whole row is meant.
        hint: The next step, or an empty string.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        # Rows that were refused while they were read travel to workers; by default only the message would.
        return type(self), (self.code, self.message), vars(self)


class RunError(IfttoolError):
    """I/O or internal failure. What was committed before it stays whole."""

    exit_code = 3


class InputChanged(RunError):
    """An input stream that ended early, is damaged, or changed while it was read."""
