"""The commands as functions: the same options under the same names; results instead of messages and exit codes.

Inputs are what the commands take: paths, globs or ``-``, one or several. Options are described by ``ifttool COMMAND
--help`` and in ``docs/commands.md``; here ``template_kwargs`` is a mapping instead of JSON text.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ifttool.errors import RowError
from ifttool.ledger import Tally
from ifttool.records import Place

if TYPE_CHECKING:
    from ifttool.pipeline import RunSummary
    from ifttool.recipe import Recipe
    from ifttool.stats import Stats

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
OnReject = Callable[[Place, bytes | None, RowError, str], None]
"""Called for every row that is left out: place, bytes (None if over-long), reason, ``rejected`` or ``dropped``."""
OnProgress = Callable[[Tally, int], None]
"""Called now and then with the counts so far and the bytes of input they cover."""


class Rows(Iterator[dict[str, Any]]):
    """JSON rows, made one at a time as they are asked for.

    Attributes:
        tally: What was counted so far; everything once the rows are used up.
    """

    def __init__(self, rows: Iterator[dict[str, Any]], tally: Tally) -> None:
        self._rows = rows
        self.tally = tally

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)


def render(
    inputs: Inputs,
    *,
    template: str | None = None,
    tokenizer: str = "default",
    generation_prompt: bool = False,
    template_name: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    date: str | None = None,
    input_format: str = "auto",
    tool_arguments: str = "object",
    stdin: BinaryIO | None = None,
    on_reject: OnReject | None = None,
) -> Rows:
    """Conversations → the text the model sees.

    Returns:
        Rows of ``source``, ``line``, ``id`` (if any), ``text`` and ``spans`` (see ``streams.render_rows``).

    Raises:
        UsageError: An option, the template, the tokenizer or an input can't be used.
        RowError: While iterating, a row is rejected and there is no ``on_reject``.
    """
    from ifttool.streams import render_rows
    from ifttool.tokenizer.load import load_tokenizer
    from ifttool.worker import build_template

    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        input_format=input_format,
        tool_arguments=tool_arguments,
        generation_prompt=generation_prompt,
    )
    compiled = build_template(recipe, load_tokenizer(recipe.tokenizer).special_tokens)
    tally = Tally()
    return Rows(render_rows(_sources(inputs), recipe, compiled, tally, on_reject or _raise, stdin=stdin), tally)


def unroll(
    inputs: Inputs,
    *,
    train_on: str = "final-turn",
    input_format: str = "auto",
    tool_arguments: str = "keep",
    stdin: BinaryIO | None = None,
    on_reject: OnReject | None = None,
) -> Rows:
    """Conversation of N assistant turns → N conversations, each ending with its turn. Nothing is rendered.

    Returns:
        Rows of ``id`` (if any), ``messages`` and ``tools`` (if any) that every other function reads back.

    Raises:
        UsageError: An option or an input can't be used.
        RowError: While iterating, a row is rejected and there is no ``on_reject``.
    """
    from ifttool.resolve import DEFAULT_TEMPLATE
    from ifttool.streams import unroll_rows

    recipe = _recipe(
        template=DEFAULT_TEMPLATE, input_format=input_format, tool_arguments=tool_arguments, train_on=train_on
    )
    tally = Tally()
    return Rows(unroll_rows(_sources(inputs), recipe, tally, on_reject or _raise, stdin=stdin), tally)


def unroll_shards(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    train_on: str = "final-turn",
    template: str | None = None,
    tokenizer: str = "default",
    template_name: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    date: str | None = None,
    spans: str = "auto",
    max_length: int | None = None,
    overflow: str = "drop",
    allow_text_markers: bool = False,
    input_format: str = "auto",
    tool_arguments: str = "object",
    format: str = "parquet",
    force: bool = False,
    max_rejects: int | str = 0,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
) -> "RunSummary":
    """:func:`unroll` and :func:`mask` in one pass: shards with one sample for each trained turn.

    Returns:
        The counts and the shards. With more than ``max_rejects`` rejected rows ``committed`` is False and
        ``rejects`` names the file that says why; there are no shards then.

    Raises:
        UsageError: An option, the template, the tokenizer, an input or the output can't be used.
        RunError: I/O failed; nothing was committed.
    """
    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        spans=spans,
        max_length=max_length,
        overflow=overflow,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
        unroll="always",
        train_history=_trains_history(train_on),
    )
    return _write(recipe, inputs, output, format=format, force=force, max_rejects=max_rejects, stdin=stdin,
                  on_progress=on_progress)  # fmt: skip


def tokenize(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    template: str | None = None,
    tokenizer: str = "default",
    no_loss: bool = False,
    template_name: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    date: str | None = None,
    max_length: int | None = None,
    overflow: str = "drop",
    allow_text_markers: bool = False,
    input_format: str = "auto",
    tool_arguments: str = "object",
    format: str = "parquet",
    force: bool = False,
    max_rejects: int | str = 0,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
) -> "RunSummary":
    """Conversations → shards of ``input_ids`` in which every token bears loss, or with ``no_loss`` none does.

    Returns:
        As :func:`unroll_shards`; it also raises the same.
    """
    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        train_on="all-tokens",
        max_length=max_length,
        overflow=overflow,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
        bears_loss=not no_loss,
    )
    columns = ("input_ids", "attention_mask") if no_loss else None
    return _write(recipe, inputs, output, columns=columns, format=format, force=force, max_rejects=max_rejects,
                  stdin=stdin, on_progress=on_progress)  # fmt: skip


def mask(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    template: str | None = None,
    tokenizer: str = "default",
    train_on: str = "assistant-turns",
    template_name: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    date: str | None = None,
    spans: str = "auto",
    max_length: int | None = None,
    overflow: str = "drop",
    allow_text_markers: bool = False,
    input_format: str = "auto",
    tool_arguments: str = "object",
    format: str = "parquet",
    force: bool = False,
    max_rejects: int | str = 0,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
) -> "RunSummary":
    """Conversations → shards of ``input_ids`` with loss masks. The main job, in one pass.

    Returns:
        As :func:`unroll_shards`; it also raises the same.
    """
    recipe = _recipe(
        template=template,
        tokenizer=tokenizer,
        template_name=template_name,
        template_kwargs=template_kwargs,
        date=date,
        train_on=train_on,
        spans=spans,
        max_length=max_length,
        overflow=overflow,
        allow_text_markers=allow_text_markers,
        input_format=input_format,
        tool_arguments=tool_arguments,
    )
    return _write(recipe, inputs, output, format=format, force=force, max_rejects=max_rejects, stdin=stdin,
                  on_progress=on_progress)  # fmt: skip
