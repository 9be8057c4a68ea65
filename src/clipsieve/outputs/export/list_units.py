"""For lists, which are made of the run alone: what belongs together there as it does in a data set."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from clipsieve.outputs.export.base import Places, Unit, Writer, Written
from clipsieve.sources.tar_index import split_key
from clipsieve.store import Run
from clipsieve.types import Shard

__all__ = ["ListWriter", "list_shards"]

_TAR = re.compile(r".*?\.(?:tar|tar\.gz|tgz)(?=/)", re.IGNORECASE | re.DOTALL)


def list_shards(run: Run) -> tuple[Shard, ...]:
    """Return a shard for each part of a run: its member is the tar that its images lie in, or nothing."""
    is_tar = run.manifest.source_kind == "webdataset"
    shards = []
    for index, images in enumerate(run.iter_images(["image_id"])):
        found = _TAR.match(str(images.column("image_id")[0])) if is_tar and images.num_rows else None
        shards.append(Shard(index, (found.group(),) if found else (), "", images.num_rows))
    return tuple(shards)


class ListWriter(Writer):
    """Touches no file of the source. A sample of a tar is listed as a whole or not at all, as it would be exported."""

    kind: ClassVar[str] = "list"

    def unit_of(self, shard: Shard) -> str:
        """Return the tar, or the number of the part."""
        return shard.members[0] if shard.members else str(shard.index)

    def groups(self, unit: Unit) -> Int64[np.ndarray, "n"]:
        """Return a number for each sample; without tars, each image is one."""
        if not unit.shards[0].members:
            return super().groups(unit)
        keys: dict[str, int] = {}
        return np.array([keys.setdefault(split_key(name)[0], len(keys)) for name in unit.image_ids], dtype=np.int64)

    def write(self, unit: Unit, places: Places) -> Written:  # noqa: ARG002
        """Write nothing: lists are written at the end."""
        return Written()
