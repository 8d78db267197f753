"""A manifest as a recipe: the same run once more, byte for byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ifttool.arranging.spec import Arrangement
from ifttool.errors import UsageError
from ifttool.io.input_digests import InputDigest, digest_input
from ifttool.io.inputs import STDIN, printable
from ifttool.manifest import changed_versions, read_manifest
from ifttool.packing.options import PackOptions
from ifttool.packing.schema import FORMAT as PACKED
from ifttool.recipe import Recipe
from ifttool.schema import FORMAT
from ifttool.target import Target
from ifttool.tokenizer.load import load_tokenizer
from ifttool.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class Replay:
    """The arguments of a run that was.

    Attributes:
        recipe: How conversations become samples; the template's text is in it.
        sources: The inputs, which are what they were.
        target: A new place, and the old form.
        tolerance: How many rejected rows it forgave.
        arrangement: The order and the splits.
        other_versions: What has another version now; bytes may differ then.
    """

    recipe: Recipe
    sources: list[str]
    target: Target
    tolerance: Tolerance
    arrangement: Arrangement
    other_versions: tuple[str, ...]


def read_replay(path: Path, output: Path, *, force: bool) -> Replay:
    """The run that wrote a manifest, to be done again into another place.

    Raises:
        UsageError: The manifest can't be used, its tokenizer or an input is another one now, or an input was a stream.
    """
    manifest = read_manifest(path)
    try:
        recipe = Recipe.from_json(manifest["recipe"])
        options = manifest["options"]
        target = Target(output, options["format"], tuple(options["columns"]), layout=options["layout"], force=force)
        arrangement = Arrangement.from_json(options.get("arrangement", {}))
        tolerance = Tolerance(**options["max_rejects"])
        digests = {source: InputDigest(**entry) for source, entry in manifest["input_files"].items()}
        tokenizer_sha256 = manifest["tokenizer"]["sha256"]
        other_versions = tuple(changed_versions(manifest))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{printable(str(path))} can't be used ({error!r})") from error
    _check_inputs(digests)
    if load_tokenizer(recipe.tokenizer).sha256 != tokenizer_sha256:
        raise UsageError(f"the tokenizer {printable(recipe.tokenizer)} isn't the one of {printable(str(path))}")
    return Replay(recipe, list(digests), target, tolerance, arrangement, other_versions)


@dataclass(frozen=True, slots=True)
class PackReplay:
    """The arguments of a packing run that was.

    Attributes:
        sources: The shards, which are what they were.
        options: How they were packed.
        other_versions: As for :class:`Replay`.
    """

    sources: list[str]
    options: PackOptions
    other_versions: tuple[str, ...]


def read_pack_replay(path: Path) -> PackReplay | None:
    """The packing run that wrote a manifest; None if another kind of run did. Raises as :func:`read_replay`."""
    manifest = read_manifest(path, FORMAT, PACKED)
    if manifest["format"] != PACKED:
        return None
    try:
        plain = {name: value for name, value in manifest["options"].items() if name != "algorithm"}
        options = PackOptions(**plain)
        digests = {source: InputDigest(**entry) for source, entry in manifest["input_files"].items()}
        other_versions = tuple(changed_versions(manifest))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{printable(str(path))} can't be used ({error!r})") from error
    _check_inputs(digests)
    return PackReplay(list(digests), options, other_versions)


def _check_inputs(digests: Mapping[str, InputDigest]) -> None:
    for source, digest in digests.items():
        shown = "standard input" if source == STDIN else printable(source)
        if digest.sha256 is None:
            raise UsageError(f"{shown} was a stream: the run can't be repeated", hint="run it again from a file")
        if not Path(source).is_file():
            raise UsageError(
                f"{shown} isn't there", hint="paths in a manifest are as the run saw them: go to its folder"
            )
        if digest_input(source) != digest:
            raise UsageError(f"{shown} has changed since the run", hint="give the command anew to use it as it is")
