"""Which verdicts are about the files that a run holds now: a file may have been replaced since somebody looked at it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.review.records import VerdictRow
from clipsieve.store import Run

__all__ = ["is_about", "rows_about"]


def is_about(row: VerdictRow, sha256: str | None) -> bool:
    """Return whether a row of the ledger is about the file with a hash; where one of the hashes is not known, it is."""
    return row.sha256 is None or sha256 is None or row.sha256 == sha256


def rows_about(run: Run, rows: Sequence[VerdictRow]) -> list[VerdictRow]:
    """Return those rows that are about files of a run; the run is streamed.

    Parameters
    ----------
    run : Run
        As it is now.
    rows : sequence of VerdictRow
        Of its ledger.

    Raises
    ------
    RunCorruptError
        If a part of the run is missing or damaged.
    """
    wanted = pa.array(sorted({row.image_id for row in rows}), pa.string())
    if not len(wanted):
        return []
    # Of embeddings that lie elsewhere, nobody knows the hashes.
    columns = ["image_id"] if run.external is not None else ["image_id", "sha256"]
    sha256: dict[str, str | None] = {}
    for images in run.iter_images(columns):
        is_wanted = pc.is_in(images.column("image_id").cast(pa.string()), value_set=wanted).to_numpy()
        found = images.take(np.flatnonzero(is_wanted)).to_pylist()
        sha256 |= {image["image_id"]: image.get("sha256") for image in found}
    return [row for row in rows if row.image_id in sha256 and is_about(row, sha256[row.image_id])]
