"""Writing a packed shard and its provenance sidecar."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ifttool.packing.packs import Packs
from ifttool.packing.schema import (
    PROVENANCE_SCHEMA,
    Layout,
    packed_batch,
    packed_schema,
    provenance_batch,
    stored_mask,
)
from ifttool.samples import Samples
from ifttool.shards import ContentDigest, ShardInfo, file_sha256, table_writer


@dataclass(frozen=True, slots=True)
class PackFormat:
    """What all shards of a run share.

    Attributes:
        layout: Which columns, and how the mask is stored.
        metadata: What goes into the schema.
        inputs: Paths of the input shards, for provenance.
    """

    layout: Layout
    metadata: dict[str, Any]
    inputs: Sequence[str]


def write_packs(path: Path, groups: Iterable[Packs], form: PackFormat, *, provenance: Path) -> ShardInfo:
    """Write packs as one shard, a row group for each item of ``groups``. Both files appear whole or not at all.

    Returns:
        Its figures: ``rows`` are packs, and digests are of columns as they are stored.

    Raises:
        RunError: The operating system refused.
    """
    schema = packed_schema(form.layout, form.metadata)
    digest = ContentDigest()
    rows = tokens = trained = longest = 0
    # The sidecar is left first: a shard that is there always has its sidecar.
    with table_writer(path, schema) as shard, table_writer(provenance, PROVENANCE_SCHEMA) as sidecar:
        for packs in groups:
            digest.update(Samples(packs.ids, stored_mask(packs, form.layout), packs.tokens, ()))
            rows += len(packs)
            tokens += len(packs.ids)
            trained += int(packs.mask.sum(dtype=np.int64))
            longest = max(longest, int(np.diff(packs.tokens).max()))
            shard.write(packed_batch(packs, form.layout, schema))
            sidecar.write(provenance_batch(packs, form.inputs))
    return ShardInfo(
        rows=rows,
        tokens=tokens,
        trained_tokens=trained,
        longest=longest,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        content_sha256=digest.hexdigest(),
    )
