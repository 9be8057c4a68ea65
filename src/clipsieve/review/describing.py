"""What the data set says of single images: read when it is asked for, from the parts that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clipsieve.errors import RunConflictError
from clipsieve.review.kept import ByteBounded
from clipsieve.store import Run

__all__ = ["Described", "Describer"]

CACHE_BYTES = 64 << 20
_COLUMNS = ["uri", "label", "caption", "width", "height"]


@dataclass(frozen=True, slots=True)
class Described:
    """One image in the words of its data set, exactly as they stand in the run: hostile ones, too.

    Attributes
    ----------
    row : int
        Its place in the run, from 0.
    uri : str
        Where it lay when it was scanned.
    label, caption : str or None
        None if the source gave none.
    width, height : int or None
        In pixels, as stored; None if no header was read.
    """

    row: int
    uri: str
    label: str | None
    caption: str | None
    width: int | None
    height: int | None


class Describer:
    """Reads the words of images; keeps the parts that were asked for last. Safe for threads.

    Parameters
    ----------
    run : Run
        Whose images.
    starts : int64 array of shape (n_parts + 1,)
        The first row of each part, and the number of rows in all.
    """

    def __init__(self, run: Run, starts: Int64[np.ndarray, "_"]) -> None:
        self._run, self._starts = run, starts
        self._kept: ByteBounded[int, pa.Table] = ByteBounded(CACHE_BYTES, lambda table: int(table.nbytes))

    def describe(self, rows: Sequence[int]) -> list[Described]:
        """Return what is known of some images, in their order.

        Raises
        ------
        RunCorruptError, RunConflictError
            If a part is missing or damaged, or was scanned anew and holds other rows.
        """
        parts = np.searchsorted(self._starts, np.asarray(rows, dtype=np.int64), side="right") - 1
        # Part by part, so that each is read once, however they are mixed.
        found: dict[int, Described] = {}
        for part in sorted(set(parts.tolist())):
            inside = [int(row) for row, of in zip(rows, parts, strict=True) if of == part]
            places = pa.array([row - int(self._starts[part]) for row in inside], pa.int64())
            for row, values in zip(inside, self._table(part).take(places).to_pylist(), strict=True):
                found[row] = Described(row, **values)
        return [found[int(row)] for row in rows]

    def _table(self, part: int) -> pa.Table:
        kept = self._kept.get(part)
        if kept is not None:
            return kept
        table = self._run.read_images(part, _COLUMNS).select(_COLUMNS)
        if table.num_rows != self._starts[part + 1] - self._starts[part]:
            raise RunConflictError(
                f"`{self._run.path}` was scanned anew while it was open", hint="open it again to see what it holds now"
            )
        self._kept.put(part, table)
        return table
