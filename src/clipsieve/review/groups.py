"""Groups of near-duplicates as a queue: a group comes up until each of its images is done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

__all__ = ["Groups"]


class Groups:
    """Groups of rows, as arrays.

    Parameters
    ----------
    groups : sequence of int64 arrays
        Each of at least one row, the leader first; no row is in two.

    Attributes
    ----------
    n : int
        How many.
    """

    def __init__(self, groups: Sequence[Int64[np.ndarray, "_"]]) -> None:
        self.n = len(groups)
        self._rows = np.concatenate([np.zeros(0, dtype=np.int64), *groups])
        self._sizes = np.array([len(group) for group in groups], dtype=np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        of_group = np.repeat(np.arange(self.n), self._sizes)
        self._group_of = dict(zip(self._rows.tolist(), of_group.tolist(), strict=True))

    def leaders(self, done: Bool[np.ndarray, "n"]) -> Int64[np.ndarray, "_"]:
        """Return the first row of each group that is not done, in the order of the groups; groups that are done have none."""
        if not self.n:
            return np.zeros(0, dtype=np.int64)
        m = len(self._rows)
        places = np.where(done[self._rows], m, np.arange(m))
        first = np.minimum.reduceat(places, self._starts)
        return np.asarray(self._rows[first[first < m]], dtype=np.int64)

    def size_of(self, row: int) -> int:
        """Return how many rows the group of a row has; 1 without one."""
        group = self._group_of.get(row)
        return 1 if group is None else int(self._sizes[group])
