"""A packing run: shards → lengths → plan → packed shards → manifest."""

import os
from collections.abc import Sequence
from pathlib import Path

from ifttool.errors import RowError, UsageError
from ifttool.io.atomic import atomic_writer
from ifttool.io.input_digests import InputDigests
from ifttool.io.inputs import printable
from ifttool.io.places import is_inside
from ifttool.ledger import Tally, reject_line
from ifttool.output import FolderSink, Shard
from ifttool.packing.documents import common_metadata, complete
from ifttool.packing.figures import Fill, PackSummary
from ifttool.packing.inputs import InputShard, find_shards
from ifttool.packing.options import PackOptions
from ifttool.packing.split_packer import SplitPacker
from ifttool.packing.survey import OVERLONG, Survey, survey_shard
from ifttool.packing.writer import PackFormat


def pack_shards(names: Sequence[str], output: Path, options: PackOptions, *, force: bool = False) -> PackSummary:
    """Pack finished shards into an output folder; the figures of what was done.

    Lengths are read first and planned in memory (some 60 bytes a row at the peak); tokens follow in one pass, through
    files in the output folder when they don't fit into memory. Memory doesn't grow with the number of tokens.

    Args:
        names: Output folders, shards and globs. Splits (by names of shards) are packed apart.
        output: A folder.
        options: How.
        force: Replace an earlier output of ifttool.

    Raises:
        UsageError: Inputs, options or the folder can't be used; nothing was written.
        RowError: A row is too long, and that is an error by ``overlong``; nothing was written.
        RunError: I/O failed, or an input is damaged or changed; nothing was committed.
    """
    shards = find_shards(names)
    if not shards:
        raise UsageError("there are no shards to pack")
    check_output(output, [shard.path for shard in shards])
    _refuse_inside(output, shards)
    with InputDigests([shard.path for shard in shards]) as digests:
        surveys = [survey_shard(shard, length=options.length, unread=options.form.unread) for shard in shards]
        if options.overlong == "error":
            _refuse_overlong(surveys)
        sink = FolderSink(output, file_format="parquet", force=force)
        try:
            fills, written = _pack_splits(surveys, sink.root, options)
            has_rejects = _write_left_out(surveys, sink.rejects)
            inputs = digests.results()
            total = sum(fills.values(), Fill(options.length))
            tally = Tally({survey.shard.path: survey.ledger for survey in surveys})
            tally.samples, tally.tokens, tally.trained_tokens = total.packs, total.tokens, total.trained_tokens
            complete(sink, options, shards=shards, digests=inputs, tally=tally, fills=fills, written=written)
        except BaseException:
            sink.discard()
            raise
    return PackSummary(tally, tuple(written), fills, output / sink.rejects.name if has_rejects else None)


def _pack_splits(surveys: Sequence[Survey], output: Path, options: PackOptions) -> tuple[dict[str, Fill], list[Shard]]:
    shards = [survey.shard for survey in surveys]
    form = PackFormat(options.form, common_metadata(shards, options), [shard.path for shard in shards])
    fills: dict[str, Fill] = {}
    written: list[Shard] = []
    for split in dict.fromkeys(shard.split for shard in shards):
        chosen = {index: survey for index, survey in enumerate(surveys) if survey.shard.split == split}
        packer = SplitPacker(split, chosen, options)
        written += packer.write(output, form)
        fills[split] = packer.fill
    return fills, written


def check_output(output: str | os.PathLike[str], files: Sequence[str]) -> None:
    """Refuse a place where packs can't go.

    Raises:
        UsageError: It is named like a file, or one of ``files``, which are read, lies in it.
    """
    shown = printable(os.fspath(output))
    if Path(output).suffix in (".parquet", ".arrow"):
        raise UsageError(f"{shown} is a file's name", hint="packs go into a folder")
    if any(is_inside(path, output) for path in files):
        raise UsageError(f"the output folder {shown} holds the input", hint="choose another one")


def _refuse_inside(output: Path, shards: Sequence[InputShard]) -> None:
    """Refuse a place in an output that is packed: a later run couldn't replace that, for what isn't its own in it."""
    for folder in dict.fromkeys(shard.folder for shard in shards):
        if folder is not None and is_inside(output, folder):
            raise UsageError(
                f"the output folder {printable(str(output))} lies in {printable(str(folder))}, which is packed",
                hint="choose a folder beside it",
            )


def _refuse_overlong(surveys: Sequence[Survey]) -> None:
    overlong = sum(len(survey.overlong) for survey in surveys)
    rows = (row for survey in surveys for row in survey.left_out())
    for place, error in rows:
        if error.code == OVERLONG:
            raise RowError(error.code, f"{place}: {error.message} (of {overlong:,} such rows)", hint=error.hint)


def _write_left_out(surveys: Sequence[Survey], path: Path) -> bool:
    if not any(len(survey.overlong) or len(survey.empty) for survey in surveys):
        return False
    with atomic_writer(path) as file:
        for survey in surveys:
            for place, error in survey.left_out():
                file.write(reject_line(place, None, error, kind="dropped"))
    return True
