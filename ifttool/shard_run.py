"""Options of the commands that write shards → one run, and the dependency file that Make reads."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifttool.api_types import ArrangeOptions, MixedInputs, ShardOptions, WriteOptions
from ifttool.errors import UsageError
from ifttool.io.sizes import is_large
from ifttool.resolve import resolve_recipe
from ifttool.tokenizer.fast_load import fast_load
from ifttool.tolerance import Tolerance

if TYPE_CHECKING:
    from ifttool.pipeline import RunSummary


def write_shards(
    inputs: MixedInputs,
    output: str | os.PathLike[str],
    options: ShardOptions,
    **fixed: Any,
) -> "RunSummary":
    """Turn conversations into shards, as the options say.

    Args:
        inputs: Paths, globs or ``-``, one or several, or with weights.
        output: A folder, or one file.
        options: Those of the command.
        fixed: What the command itself decides of the recipe.

    Raises:
        UsageError: An option, the template, the tokenizer or an input can't be used; nothing was written.
        RunError: I/O failed.
    """
    from ifttool.arranging.mixture import expand_mixture  # noqa: PLC0415
    from ifttool.arranging.spec import Arrangement  # noqa: PLC0415
    from ifttool.layouts import choose_columns  # noqa: PLC0415

    layout = options.get("layout")
    bears_loss = fixed.get("bears_loss", True)
    columns = choose_columns(columns=options.get("columns"), layout=layout, bears_loss=bears_loss)
    recipe_options: dict[str, Any] = {
        name: value for name, value in options.items() if name not in WriteOptions.__annotations__
    }
    if options.get("overflow") == "truncate" and options.get("max_length") is None:
        raise UsageError("--overflow truncate needs a length to cut at", hint="give --max-length, or leave it out")
    sources, weights = expand_mixture(inputs)
    write_depfile = depfile_writer(options.get("depfile"), [output], sources, recipe_options)
    recipe = resolve_recipe(**recipe_options, **fixed)
    fast = fast_load(recipe.tokenizer)
    if recipe.backend != "tokenizers" and is_large(sources):
        fast.start()  # it takes longer than all else at the start, such as the next line with pyarrow behind it
    from ifttool.pipeline import run_shards  # noqa: PLC0415
    from ifttool.target import Target  # noqa: PLC0415

    arranging: dict[str, Any] = {
        name: value for name, value in options.items() if name in ArrangeOptions.__annotations__
    }
    summary = run_shards(
        recipe,
        sources,
        Target.of(
            Path(output),
            file_format=options.get("format", "parquet"),
            columns=columns,
            layout=layout,
            force=options.get("force", False),
        ),
        tolerance=Tolerance.parse(str(options.get("max_rejects", 0))),
        arrangement=Arrangement.of(**arranging, weights=weights),
        stdin=options.get("stdin"),
        on_progress=options.get("on_progress"),
        workers=options.get("workers"),
        resume=options.get("resume", False),
        fast=fast,
    )
    if summary.committed:
        write_depfile()
    return summary


def depfile_writer(
    depfile: str | os.PathLike[str] | None,
    outputs: Sequence[str | os.PathLike[str]],
    sources: Sequence[str],
    options: Mapping[str, Any],
    *others: str,
) -> Callable[[], None]:
    """What writes the dependency file of the last output once it is there. That it can is checked here.

    Raises:
        UsageError: The file can't be written there, or is one of the others.
    """
    if depfile is None:
        return lambda: None
    from ifttool.running.depfile import check_depfile, make_target, write_depfile  # noqa: PLC0415

    path, target = Path(depfile), make_target(outputs[-1])
    files = [*others, *files_read(sources, options)]
    check_depfile(path, target=target, prerequisites=files, outputs=[os.fspath(output) for output in outputs])
    return lambda: write_depfile(path, target=target, prerequisites=files)


def files_read(sources: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """The files that a run depends on: inputs, template and tokenizer; ``-`` for standard input."""
    from ifttool.running.depfile import shard_prerequisites  # noqa: PLC0415

    template, tokenizer = options.get("template"), options.get("tokenizer", "default")
    return shard_prerequisites(sources, template=template, tokenizer=tokenizer)
