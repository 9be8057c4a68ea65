"""Whether a source is still what was scanned, and the units that it is exported in."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from clipsieve.errors import SourceError
from clipsieve.outputs.export.fates import Stretch
from clipsieve.store import Run
from clipsieve.types import Shard

__all__ = ["check_shards", "stretches_of"]


def check_shards(run: Run, shards: Sequence[Shard], *, is_moved: bool = False) -> None:
    """Raise SourceError unless shards are those that the parts of a run were made of.

    Parameters
    ----------
    run : Run
        A finished scan.
    shards : sequence of Shard
        As planned today.
    is_moved : bool, default=False
        Whether the source lies elsewhere now, so that the times of its files say nothing: then numbers alone are compared,
        and whoever reads the files compares their hashes.
    """
    made_of = [_made_of(images) for images in run.iter_images(["image_id"])]
    if len(shards) != len(made_of):
        raise _not_the_same(run, f"{len(made_of):,} parts", f"{len(shards):,}")
    for shard, (fingerprint, n_rows) in zip(shards, made_of, strict=True):
        if shard.n_images != n_rows:
            raise _not_the_same(run, f"{n_rows:,} inputs in part {shard.index:,}", f"{shard.n_images:,}")
        if not is_moved and shard.fingerprint != fingerprint:
            raise _not_the_same(run, f"part {shard.index:,} as it was", "other names, sizes or times")


def _made_of(images: pa.Table) -> tuple[str, int]:
    """Return the fingerprint of the inputs that a part was made of, and how many there are."""
    return (images.schema.metadata or {}).get(b"clipsieve.inputs", b"").decode(), images.num_rows


def _not_the_same(run: Run, expected: str, found: str) -> SourceError:
    return SourceError(
        f"the source `{run.manifest.source_location}` is not what was scanned any more",
        expected=expected,
        found=found,
        state="nothing was written",
        hint=f"scan it again into `{run.path}`: only what changed is encoded anew; then score, and export again",
    )


def stretches_of(shards: Sequence[Shard], names: Sequence[str]) -> list[Stretch]:
    """Return the units that consecutive shards of one name make."""
    found: list[Stretch] = []
    for index, (shard, name) in enumerate(zip(shards, names, strict=True)):
        if found and found[-1].name == name:
            last = found.pop()
            found.append(Stretch(name, last.start, (*last.shards, shard)))
        else:
            found.append(Stretch(name, index, (shard,)))
    return found
