"""The manifest: from what, how and by what a run made its shards. Equal inputs and options give equal bytes."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ifttool import __version__
from ifttool.errors import UsageError
from ifttool.io.input_digests import InputDigest
from ifttool.io.inputs import printable
from ifttool.io.unfinished import refuse_unfinished
from ifttool.ledger import Tally
from ifttool.output import FolderSink, Shard
from ifttool.recipe import Recipe
from ifttool.schema import FORMAT
from ifttool.worker import Worker


def complete(
    sink: FolderSink,
    worker: Worker,
    *,
    options: Mapping[str, Any],
    digests: Mapping[str, InputDigest],
    tally: Tally,
    shards: Sequence[Shard],
    splits: Mapping[str, Any] | None = None,
) -> None:
    """Write what stands beside the shards, the manifest last: where it is, the output is complete.

    Args:
        sink: The output folder, its shards under their final names.
        worker: Its recipe and tokenizer are those of the run.
        options: What else decides the bytes of the output (format, columns, order, …), as plain JSON.
        digests: The inputs by content, in order.
        tally: Everything counted.
        shards: The shards, in order.
        splits: What each split of an arranged run holds; None for one that wasn't arranged.
    """
    recipe, tokenizer = worker.recipe, worker.tokenizer
    tokenizer_files = sink.write_tokenizer(tokenizer, recipe.template)
    figures = {"samples": tally.samples, "tokens": tally.tokens, "trained tokens": tally.trained_tokens}
    sink.write_card(figures, splits or ("train",))
    sink.write_manifest(
        {
            "format": FORMAT,
            "versions": versions(),
            "recipe": recipe.as_json(),
            "options": dict(options),
            "template": {"name": recipe.template_name, "sha256": recipe.template_sha256},
            "tokenizer": {"sha256": tokenizer.sha256, "files": tokenizer_files},
            "input_files": {source: asdict(digest) for source, digest in digests.items()},
            **tally.as_json(),
            **({} if splits is None else {"splits": splits}),
            "shards": [shard.as_json() for shard in shards],
            "files": sink.side_files(),
        }
    )
    sink.commit()


def versions() -> dict[str, str]:
    """Versions of everything that has a hand in the bytes of shards."""
    names = ("jinja2", "numpy", "pyarrow", "tokenizers")
    return {
        "ifttool": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def changed_versions(manifest: Mapping[str, Any]) -> list[str]:
    """What has another version now than when a manifest was written, such as ``numpy 1.26.4 → 2.1.0``."""
    then, now = manifest["versions"], versions()
    return [f"{name} {then[name]} → {now[name]}" for name in now if then.get(name, now[name]) != now[name]]


def schema_metadata(recipe: Recipe, worker: Worker) -> dict[str, Any]:
    """What a shard says of itself when it is met without its manifest."""
    tokenizer = worker.tokenizer
    return {
        "format": FORMAT,
        "ifttool": __version__,
        "template_sha256": recipe.template_sha256,
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "label_ignore_id": -100,
        "labels_shifted": False,
        "train_on": recipe.train_on,
        "max_length": recipe.max_length,
        "bos_id": tokenizer.id_of(tokenizer.special_tokens.get("bos_token")),
        "eos_id": tokenizer.id_of(tokenizer.special_tokens.get("eos_token")),
        "pad_id": tokenizer.id_of(tokenizer.special_tokens.get("pad_token")),
    }


def read_manifest(path: Path, *formats: str) -> dict[str, Any]:
    """A manifest as it was written; ``formats`` says which will do, if not just :data:`FORMAT`.

    Raises:
        UsageError: It isn't there, isn't JSON, or is of another format.
    """
    wanted = formats or (FORMAT,)
    shown = printable(str(path))
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        refuse_unfinished(path.parent)
        raise UsageError(f"can't read {shown}: {error.strerror}", hint="name the folder of a finished run") from None
    except ValueError as error:
        raise UsageError(f"{shown} isn't JSON: {error}") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found not in wanted:
        raise UsageError(
            f"{shown} is of format {printable(str(found))}; this needs {' or '.join(wanted)}",
            hint="of packed or exported shards, name the output that they were made of",
        )
    return manifest
