"""The commands as functions: the same options under the same names; results instead of messages and exit codes.

Inputs are what the commands take: paths, globs or ``-``, one or several. Options are those of ``docs/commands.md``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from ifttool.api_types import (
    Inputs,
    MaskOptions,
    MixedInputs,
    OnProgress,
    OnReject,
    ShardOptions,
    TemplateOptions,
)
from ifttool.errors import RowError, UsageError
from ifttool.io.inputs import expand_inputs
from ifttool.ledger import Tally
from ifttool.records import Place
from ifttool.resolve import resolve_recipe
from ifttool.shard_run import depfile_writer, files_read, write_shards
from ifttool.tokenizer.load import load_tokenizer

# The rest is imported where it is used. What writes or reads shards, since streams don't need pyarrow; and what
# renders, since shards can't be written before the fast encoder has loaded, which begins before NumPy is imported.
if TYPE_CHECKING:
    from ifttool.exporting.summary import ExportSummary
    from ifttool.figures import Stats
    from ifttool.packing.figures import PackSummary
    from ifttool.pipeline import RunSummary
    from ifttool.running.chain import ChainSummary
    from ifttool.running.recipe_file import Step
    from ifttool.verification.report import Report


class Rows(Iterator[dict[str, Any]]):
    """JSON rows, made one at a time as they are asked for.

    Attributes:
        tally: What was counted so far; everything once the rows are used up.
        files: What is read for them, ``-`` for standard input: files that may not be written meanwhile.
    """

    def __init__(self, rows: Iterator[dict[str, Any]], tally: Tally, files: Sequence[str] = ()) -> None:
        self._rows = rows
        self.tally = tally
        self.files = tuple(files)

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
    from ifttool.streams import render_rows  # noqa: PLC0415
    from ifttool.worker import build_template  # noqa: PLC0415

    recipe = resolve_recipe(**options, generation_prompt=generation_prompt)
    template = build_template(recipe, load_tokenizer(recipe.tokenizer).special_tokens)
    tally, sources = Tally(), _sources(inputs)
    rows = render_rows(sources, recipe, template, tally, on_reject or _raise, stdin=stdin)
    return Rows(rows, tally, files_read(sources, options))


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
    from ifttool.streams import unroll_rows  # noqa: PLC0415

    _check_unroll(train_on)
    recipe = resolve_recipe(train_on=train_on, tool_arguments=tool_arguments, input_format=input_format)
    tally, sources = Tally(), _sources(inputs)
    return Rows(unroll_rows(sources, recipe, tally, on_reject or _raise, stdin=stdin), tally, sources)


def unroll_shards(
    inputs: MixedInputs,
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
    return write_shards(inputs, output, options, unroll="always", train_history=history, spans=spans)


def tokenize(
    inputs: MixedInputs,
    output: str | os.PathLike[str],
    *,
    no_loss: bool = False,
    **options: Unpack[ShardOptions],
) -> "RunSummary":
    """Conversations → shards of ``input_ids`` in which every token bears loss, or with ``no_loss`` none does.

    The first token of each sample never does: nothing predicts it.

    Returns:
        As :func:`unroll_shards`; it also raises the same.
    """
    return write_shards(inputs, output, options, train_on="all-tokens", bears_loss=not no_loss)


def mask(inputs: MixedInputs, output: str | os.PathLike[str], **options: Unpack[MaskOptions]) -> "RunSummary":
    """Conversations → shards of ``input_ids`` with loss masks. The main job, in one pass.

    Returns:
        As :func:`unroll_shards`; it also raises the same.
    """
    return write_shards(inputs, output, options)


def pack(
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    length: int,
    layout: str = "default",
    window: int | None = None,
    seed: int = 0,
    overlong: str = "drop",
    shards: int | None = None,
    force: bool = False,
) -> "PackSummary":
    """Finished shards → packed shards: whole samples only, best fit decreasing. Splits are packed apart.

    Args:
        inputs: Output folders, shards and globs.
        output: A folder.
        length: What a pack holds, in tokens.
        layout: ``default``, ``trl``, ``unsloth``, ``transformers`` or ``megatron-bridge``.
        window: Pack every so many consecutive rows on their own; None for a whole split at once.
        seed: Decides the order of packs, and which of equally long samples goes where.
        overlong: What to do with samples that no pack can hold: ``drop`` and list them, or ``error``.
        shards: Shards of each split; None for one for every 50 million tokens.
        force: Replace an earlier output of ifttool.

    Returns:
        The counts, the shards, and how full the packs of each split are.

    Raises:
        UsageError: Inputs, options or the output can't be used; inputs that are packed already, for one.
        RowError: A sample is longer than a pack, and ``overlong`` is ``error``; nothing was written.
        RunError: I/O failed, or an input is damaged; nothing was committed.
    """
    from ifttool.packing.options import PackOptions  # noqa: PLC0415
    from ifttool.packing.runner import pack_shards  # noqa: PLC0415

    options = PackOptions(length=length, layout=layout, window=window, seed=seed, overlong=overlong, shards=shards)
    return pack_shards(_names(inputs), Path(output), options, force=force)


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


def export(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: str,
    lengths: bool = False,
    eos_anywhere: bool = False,
    vocab_size: int | None = None,
    drop_loss_mask: bool = False,
    inputs: Inputs | None = None,
    force: bool = False,
) -> "ExportSummary":
    """Finished shards → the files of a trainer that doesn't read Parquet.

    Args:
        folder: Output folder of a run, with its ``manifest.json``.
        output: The folder to make.
        to: ``hf-disk``, ``olmo-core``, ``mds``, ``megatron-bin`` or ``messages``.
        lengths: ``hf-disk``: add the columns ``length`` and ``lengths``.
        eos_anywhere: ``olmo-core``: take samples whose EOS token isn't their only and last one.
        vocab_size: ``olmo-core``: that of the trainer, which decides the width of ids; None for the tokenizer's.
        drop_loss_mask: ``megatron-bin``: must be True, since the format has none.
        inputs: ``messages``: folders, files or globs where the inputs are now; None for where they were.
        force: Replace an earlier export.

    Returns:
        Rows and tokens by split, and what isn't as in the shards.

    Raises:
        UsageError: The format, an option, the shards or the output can't be used.
        InputChanged: A shard is damaged.
        RunError: I/O failed; there is no output.
    """
    from ifttool.exporting.exporter import export_folder  # noqa: PLC0415

    options = {
        "lengths": lengths,
        "eos_anywhere": eos_anywhere,
        "vocab_size": vocab_size,
        "drop_loss_mask": drop_loss_mask,
        "inputs": None if inputs is None else _names(inputs),
    }
    return export_folder(Path(folder), Path(output), to=to, force=force, options=options)


def run(
    recipe: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    stdin: BinaryIO | None = None,
    on_progress: OnProgress | None = None,
    workers: int | None = None,
    depfile: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> "ChainSummary":
    """Do what a recipe file says, or repeat the run that wrote a manifest, also a packing run.

    Args:
        recipe: A TOML file (``docs/recipes.md``), or the ``manifest.json`` of an earlier output.
        output: Where to write; for a manifest it must be given, for a recipe file it replaces the file's ``output``.
        force: Replace an earlier output.
        stdin: What ``-`` reads.
        on_progress: As for :func:`mask`.
        workers: Processes; None for what the recipe says, or all cores.
        depfile: Write a Makefile rule here: what the last output depends on.
        resume: Finish a run that was interrupted; packing is done anew.

    Returns:
        The outcome of each step. A repeated run writes the bytes of the first one.

    Raises:
        UsageError: The recipe can't be used, or anything it names; an input of a manifest isn't what it was.
        RunError: I/O failed.
    """
    from ifttool.arranging.mixture import expand_mixture  # noqa: PLC0415
    from ifttool.running.chain import check_steps, read_run, repeat_run, run_steps  # noqa: PLC0415
    from ifttool.running.replay import Replay  # noqa: PLC0415

    path = Path(recipe)
    given: dict[str, Any] = {"on_progress": on_progress, "resume": resume}
    if path.suffix == ".json":
        if output is None:
            raise UsageError("a manifest doesn't say where to write", hint="name a folder with -o")
        replay = read_run(path, Path(output), force=force)
        read = {"tokenizer": replay.recipe.tokenizer} if isinstance(replay, Replay) else {}
        write = depfile_writer(depfile, [output], replay.sources, read, str(path))
        repeated = repeat_run(replay, Path(output), force=force, workers=workers, **given)
        if repeated.shards.committed:
            write()
        return repeated
    given |= {"stdin": stdin} | ({"force": True} if force else {}) | ({} if workers is None else {"workers": workers})
    steps = recipe_steps(path, output)
    sources, _ = expand_mixture(steps[0].inputs)
    check_steps(steps, sources, given)
    outputs = [step.output for step in steps]
    write = depfile_writer(depfile, outputs, sources, steps[0].options, str(path))
    summary = run_steps(steps, STEPS, given)
    if summary.shards.committed:
        write()
    return summary


def recipe_steps(recipe: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> "list[Step]":
    """What :func:`run` would do with a recipe file.

    Raises:
        UsageError: The file can't be used.
    """
    from ifttool.running.recipe_file import read_recipe  # noqa: PLC0415

    return read_recipe(Path(recipe), STEPS, output=None if output is None else os.fspath(output))


STEPS: Mapping[str, Callable[..., Any]] = {
    "mask": mask,
    "tokenize": tokenize,
    "unroll": unroll_shards,
    "pack": pack,
}
"""What a recipe file can ask for: commands and their functions."""


def verify(
    folder: str | os.PathLike[str],
    *,
    sample: int | None = 200,
    inputs: Inputs | None = None,
) -> "Report":
    """Check finished shards: digests, page checksums, counts, and samples derived again from their inputs.

    Args:
        folder: Output folder of a run, with its ``manifest.json``; it may be packed.
        sample: How many samples to derive again by the reference path; None for all, 0 for none. Packs are compared
            with the shards they were made of: all of them, unless it is 0.
        inputs: Folders, files or globs where the inputs are now; None for where they were.

    Returns:
        What differs and what couldn't be compared; ``is_verified`` says that neither is the case.

    Raises:
        UsageError: It isn't an output of ifttool, its tokenizer is gone, or ``inputs`` names nothing.
        RunError: I/O failed.
    """
    from ifttool.verification.checking import verify_folder  # noqa: PLC0415

    return verify_folder(Path(folder), sample=sample, inputs=None if inputs is None else _names(inputs))


def stats_sources(inputs: Inputs) -> tuple[list[str], bool]:
    """What :func:`stats` reads, and whether it is finished shards.

    Raises:
        UsageError: There is no such input, or some are shards and some conversations.
    """
    from ifttool.figures import is_shards  # noqa: PLC0415
    from ifttool.io.unfinished import refuse_unfinished  # noqa: PLC0415

    names = _names(inputs)
    folders = [name for name in names if Path(name).is_dir() and is_shards(name)]
    for name in names:
        if name not in folders:
            refuse_unfinished(Path(name))
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
