"""The commands as functions: the same options under the same names; results instead of messages and exit codes.

Inputs are what the commands take: paths, globs or ``-``, one or several. Options are those of ``docs/commands.md``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict, Unpack

from ifttool.errors import RowError, UsageError
from ifttool.io.source import expand_inputs
from ifttool.ledger import Tally
from ifttool.records import Place
from ifttool.resolve import resolve_recipe
from ifttool.streams import render_rows, unroll_rows
from ifttool.tokenizer.load import load_tokenizer
from ifttool.tolerance import Tolerance
from ifttool.worker import build_template

# What writes or reads shards is imported where it is used: pyarrow costs 100 ms, and streams don't need it.
if TYPE_CHECKING:
    from ifttool.figures import Stats
    from ifttool.pipeline import RunSummary

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
OnReject = Callable[[Place, bytes | None, RowError, str], None]
"""Called for every row that is left out: place, bytes (None if over-long), reason, ``rejected`` or ``dropped``."""
OnProgress = Callable[[Tally, int], None]
"""Called now and then with the counts so far and the bytes of input they cover."""


class ConversationOptions(TypedDict, total=False):
    """How rows become conversations."""

    input_format: str
    tool_arguments: str


class TemplateOptions(ConversationOptions, total=False):
    """How conversations become text. ``template_kwargs`` is a mapping here, not JSON text."""

    template: str | None
    template_name: str | None
    template_kwargs: Mapping[str, Any]
    tokenizer: str
    date: str | None


class WriteOptions(TypedDict, total=False):
    """How shards are written. ``stdin`` is what ``-`` reads."""

    format: str
    force: bool
    max_rejects: int | str
    stdin: BinaryIO | None
    on_progress: OnProgress | None
    workers: int | None


class ShardOptions(TemplateOptions, WriteOptions, total=False):
    """How conversations become shards."""

    max_length: int | None
    overflow: str
    content_specials: str
    allow_text_markers: bool
    backend: str


class MaskOptions(ShardOptions, total=False):
    """What bears loss; see :class:`ifttool.recipe.Recipe`. ``turn_tokens`` is a pair here, not ``MIN:MAX``."""

    train_on: str
    train_reasoning: bool
    train_tool_calls: bool
    train_end_of_turn: bool
    turn_tokens: tuple[int | None, int | None]
    append_eos: bool
    spans: str
    on_mismatch: str
    unroll: str
    boundary: str


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
    generation_prompt: bool = False,
    stdin: BinaryIO | None = None,
    on_reject: OnReject | None = None,
    **options: Unpack[TemplateOptions],
) -> Rows:
    """Conversations → the text the model sees.

    Returns:
        Rows of ``source``, ``line``, ``id`` (if any), ``text`` and ``spans`` (see ``streams.render_rows``).

    Raises:
        UsageError: An option, the template, the tokenizer or an input can't be used.
        RowError: While iterating, a row is rejected and there is no ``on_reject``.
    """
    recipe = resolve_recipe(**options, generation_prompt=generation_prompt)
    template = build_template(recipe, load_tokenizer(recipe.tokenizer).special_tokens)
    tally = Tally()
    rows = render_rows(_sources(inputs), recipe, template, tally, on_reject or _raise, stdin=stdin)
    return Rows(rows, tally)


def unroll(
    inputs: Inputs,
    *,
    train_on: str = "final-turn",
    tool_arguments: str = "keep",
    input_format: str = "auto",
    stdin: BinaryIO | None = None,
    on_reject: OnReject | None = None,
) -> Rows:
    """Conversation of N assistant turns → N conversations, each ending with its turn. Nothing is rendered.

    Returns:
        Rows of ``id`` (if any), ``messages`` and ``tools`` (if any), which every other function reads back.

    Raises:
        UsageError: An option or an input can't be used.
        RowError: While iterating, a row is rejected and there is no ``on_reject``.
    """
    _check_unroll(train_on)
    recipe = resolve_recipe(train_on=train_on, tool_arguments=tool_arguments, input_format=input_format)
    tally = Tally()
    return Rows(unroll_rows(_sources(inputs), recipe, tally, on_reject or _raise, stdin=stdin), tally)


def unroll_shards(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    train_on: str = "final-turn",
    spans: str = "auto",
    **options: Unpack[ShardOptions],
) -> "RunSummary":
    """:func:`unroll` and :func:`mask` in one pass: shards with one sample for each trained turn.

    Returns:
        The counts and the shards. With more than ``max_rejects`` rejected rows ``committed`` is False and
        ``rejects`` names the file that says why; there are no shards then.

    Raises:
        UsageError: An option, the template, the tokenizer, an input or the output can't be used.
        RunError: I/O failed; nothing was committed.
    """
    _check_unroll(train_on)
    history = train_on == "assistant-turns"
    return _write(inputs, output, options, unroll="always", train_history=history, spans=spans)


def tokenize(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    no_loss: bool = False,
    **options: Unpack[ShardOptions],
) -> "RunSummary":
    """Conversations → shards of ``input_ids`` in which every token bears loss, or with ``no_loss`` none does.

    Returns:
        As :func:`unroll_shards`; it also raises the same.
    """
    columns = ("input_ids", "attention_mask") if no_loss else None
    return _write(inputs, output, options, columns=columns, train_on="all-tokens", bears_loss=not no_loss)


def mask(inputs: Inputs, output: str | os.PathLike[str], **options: Unpack[MaskOptions]) -> "RunSummary":
    """Conversations → shards of ``input_ids`` with loss masks. The main job, in one pass.

    Returns:
        As :func:`unroll_shards`; it also raises the same.
    """
    return _write(inputs, output, options)


def stats(
    inputs: Inputs,
    *,
    train_on: str = "assistant-turns",
    spans: str = "auto",
    allow_text_markers: bool = False,
    stdin: BinaryIO | None = None,
    on_reject: OnReject | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[TemplateOptions],
) -> "Stats":
    """Figures of conversations, or of finished shards (which are measured as they are, whatever the options say).

    Raises:
        UsageError: An option, the template, the tokenizer or an input can't be used, or inputs are of both kinds.
        InputChanged: An input is damaged.
    """
    from ifttool.figures import conversation_stats, shard_stats  # noqa: PLC0415

    sources, finished = stats_sources(inputs)
    if finished:
        return shard_stats(sources)
    recipe = resolve_recipe(train_on=train_on, spans=spans, allow_text_markers=allow_text_markers, **options)
    return conversation_stats(sources, recipe=recipe, refuse=on_reject or _ignore, stdin=stdin, on_progress=on_progress)


def stats_sources(inputs: Inputs) -> tuple[list[str], bool]:
    """What :func:`stats` reads, and whether it is finished shards.

    Raises:
        UsageError: There is no such input, or some are shards and some conversations.
    """
    from ifttool.figures import is_shards  # noqa: PLC0415

    names = _names(inputs)
    folders = [name for name in names if Path(name).is_dir() and is_shards(name)]
    files = expand_inputs([name for name in names if name not in folders])
    shards = folders + [source for source in files if is_shards(source)]
    other = next((source for source in files if source not in shards), None)
    if shards and other is not None:
        raise UsageError(
            f"{shards[0]} holds finished samples, {other} conversations", hint="measure one kind at a time"
        )
    return folders + files, bool(shards)


def _check_unroll(train_on: str) -> None:
    if train_on not in ("final-turn", "assistant-turns"):
        raise UsageError(f"unroll can't train on {train_on!r}", hint="choose final-turn or assistant-turns")


def _write(
    inputs: Inputs,
    output: str | os.PathLike[str],
    options: ShardOptions,
    *,
    columns: tuple[str, ...] | None = None,
    **fixed: Any,
) -> "RunSummary":
    from ifttool.pipeline import Target, run_shards  # noqa: PLC0415
    from ifttool.schema import COLUMNS  # noqa: PLC0415

    recipe_options: dict[str, Any] = {
        name: value for name, value in options.items() if name not in WriteOptions.__annotations__
    }
    return run_shards(
        resolve_recipe(**recipe_options, **fixed),
        _sources(inputs),
        Target.of(
            Path(output),
            file_format=options.get("format", "parquet"),
            columns=columns or COLUMNS,
            force=options.get("force", False),
        ),
        tolerance=Tolerance.parse(str(options.get("max_rejects", 0))),
        stdin=options.get("stdin"),
        on_progress=options.get("on_progress"),
        workers=options.get("workers"),
    )


def _sources(inputs: Inputs) -> list[str]:
    return expand_inputs(_names(inputs))


def _names(inputs: Inputs) -> list[str]:
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return [os.fspath(name) for name in given]


def _raise(place: Place, _data: bytes | None, error: RowError, kind: str) -> None:
    if kind == "rejected":
        raise RowError(error.code, f"{place}: {error.message}", path=error.path, hint=error.hint) from error


def _ignore(_place: Place, _data: bytes | None, _error: RowError, _kind: str) -> None:
    """The ledger counts the row all the same."""
