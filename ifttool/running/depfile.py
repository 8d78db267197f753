"""Makefile dependency files: what an output was made of, so that make knows when to make it again."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ifttool.errors import UsageError
from ifttool.io.atomic import write_bytes_atomic
from ifttool.io.inputs import STDIN, printable
from ifttool.io.places import check_written, is_inside
from ifttool.output import check_new_file, listed_rejects
from ifttool.tokenizer.locate import DEFAULT_TOKENIZER, locate_tokenizer

_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
"""What is read beside ``tokenizer.json``, where it is there."""


def write_depfile(path: Path, *, target: str, prerequisites: Iterable[str]) -> None:
    """Write ``target: prerequisites``, and an empty rule for each prerequisite, as ``cc -MMD -MP`` does.

    The empty rules keep make from failing when an input is gone: it makes the target again instead, which then
    says what is missing.

    Args:
        path: The dependency file, to be named in ``-include``.
        target: What was made; where make looks for its time.
        prerequisites: Files it was made of. Standard input isn't one.

    Raises:
        UsageError: A name holds what a Makefile can't.
        RunError: It can't be written.
    """
    write_bytes_atomic(path, _rules(target, prerequisites).encode("utf-8", "surrogateescape"))


def check_depfile(path: Path, *, target: str, prerequisites: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse, before a run, what :func:`write_depfile` would fail at or write over.

    Args:
        path: The dependency file.
        target: As for :func:`write_depfile`.
        prerequisites: As for :func:`write_depfile`.
        outputs: Where the run writes: folders, which needn't be there yet, or a single file.

    Raises:
        UsageError: The file is a prerequisite or part of an output, it can't be made there, or a name holds what a
            Makefile can't.
    """
    _rules(target, prerequisites)
    written: dict[str, Path] = {}
    is_made_with_output = False
    for output in map(Path, outputs):
        if output.suffix in (".parquet", ".arrow"):
            written |= {"-o": output, "the list of rejected rows": listed_rejects(output)}
        elif is_inside(path, output):
            raise UsageError(
                f"--depfile {printable(str(path))} lies in the output folder {printable(str(output))}",
                hint="write it beside that folder",
            )
        else:
            is_made_with_output |= is_inside(output, path.parent)
    if not is_made_with_output:
        check_new_file(path, force=True)
    if path.is_dir():
        raise UsageError(f"--depfile {printable(str(path))} is a folder", hint="name a file")
    check_written({**written, "--depfile": path}, prerequisites)


def _rules(target: str, prerequisites: Iterable[str]) -> str:
    files = [name for name in dict.fromkeys(prerequisites) if name != STDIN]
    needed = "".join(f" {escaped(name, is_target=False)}" for name in files)
    lines = [f"{escaped(target, is_target=True)}:{needed}"]
    lines += [f"{escaped(name, is_target=True)}:" for name in files if "%" not in name]  # else: a pattern
    return "".join(f"{line}\n" for line in lines)


def shard_prerequisites(sources: Iterable[str], *, template: str | None, tokenizer: str) -> list[str]:
    """The files that a run over conversations reads: inputs, template, tokenizer."""
    files = list(sources)
    if template is not None and Path(template).is_file():
        files.append(template)
    if tokenizer != DEFAULT_TOKENIZER or Path(tokenizer).exists():
        spec = locate_tokenizer(tokenizer)
        files += [os.fspath(spec), *(os.fspath(path) for name in _BESIDE if (path := spec.with_name(name)).is_file())]
    return files


def make_target(output: str | os.PathLike[str]) -> str:
    """What make looks at to see whether an output is done: a folder's manifest, which is written last, or the file."""
    path = Path(output)
    return os.fspath(path if path.suffix in (".parquet", ".arrow") else path / "manifest.json")


def escaped(name: str, *, is_target: bool) -> str:
    """A file name as GNU make reads it back.

    A backslash protects blanks, ``#``, ``:``, ``|`` and wildcards, and doubles before them; ``$$`` stands for ``$``.
    What no backslash protects was found by trying: GNU make 4.3 reads ``=`` as an assignment, ``;`` as a recipe and
    ``%`` in a target as a pattern.

    Raises:
        UsageError: A Makefile can't name the file.
    """
    found = _IMPOSSIBLE.search(name) or (_PATTERN.search(name) if is_target else None)
    if found is not None:
        shown = printable(name)
        raise UsageError(
            f"{shown} can't stand in a dependency file: make has no way to write {printable(found[0])!r}",
            hint="rename it",
        )
    quoted = _QUOTED_IN_TARGET if is_target else _QUOTED
    return quoted.sub(lambda match: f"{match[1] * 2}\\{match[2]}", name).replace("$", "$$")


_QUOTED = re.compile(r"(\\*)([ #:*?\[|])")
_QUOTED_IN_TARGET = re.compile(r"(\\*)([ #:*?\[])")
_IMPOSSIBLE = re.compile(r"[\t\n\r;=]|^~|[ \\&]$")
_PATTERN = re.compile("%")
