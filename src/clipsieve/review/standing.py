"""How each image of a run stands with its reviewers: the ledger's rows as arrays, kept up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int16, Int64, UInt8

from clipsieve.review.catalog import Catalog
from clipsieve.review.consensus import Board
from clipsieve.review.records import CurrentVerdict, VerdictRow
from clipsieve.review.tally import Tally

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["KEPT", "OPEN", "REMOVED", "UNTOUCHED", "Standing"]

UNTOUCHED, KEPT, REMOVED, OPEN = range(4)
SYNC_S = 0.5  # rows that another server wrote are seen after this time


class Standing:
    """The board of verdicts, and what follows of it for every row of the run.

    Parameters
    ----------
    catalog : Catalog
        Whose rows.
    ledger : Ledger
        That remembers; all of it is read.
    reviews_per_image : int
        How many voices an image needs.

    Attributes
    ----------
    board : Board
        What holds for each image.
    tally : Tally
        Who did how much.
    state : uint8 array of shape (n,)
        UNTOUCHED, KEPT, REMOVED, or OPEN: somebody spoke and nothing is decided.
    n_voices : int16 array of shape (n,)
        How many people have a verdict on it.
    is_settled : bool array of shape (n,)
        Whether it needs no further reviewer: it has its voices, or an adjudicator has spoken.
    """

    def __init__(self, catalog: Catalog, ledger: Ledger, reviews_per_image: int) -> None:
        self.board = Board()
        self.lock = threading.RLock()
        self.state: UInt8[np.ndarray, "n"] = np.zeros(catalog.n, dtype=np.uint8)
        self.n_voices: Int16[np.ndarray, "n"] = np.zeros(catalog.n, dtype=np.int16)
        self.is_settled: Bool[np.ndarray, "n"] = np.zeros(catalog.n, dtype=bool)
        self._catalog, self._ledger, self._needed = catalog, ledger, reviews_per_image
        self._sequence, self._synced = 0, -np.inf
        self._mine: dict[str, set[int]] = {}
        self.tally = Tally()
        self.sync()

    def sync(self) -> None:
        """Take in what others have written since the last time, at most twice a second."""
        with self.lock:
            if time.monotonic() - self._synced < SYNC_S:
                return
            found = self._ledger.rows(self._sequence)
            if found:
                self._sequence = found[-1][0]
                self.take_in([row for _, row in found])
            self._synced = time.monotonic()

    def write(self, rows: Sequence[VerdictRow]) -> frozenset[str]:
        """Write rows into the ledger; afterwards they are durable and count. Returns the ids that were new."""
        new = self._ledger.append(rows)
        self.take_in(rows)
        return new

    def take_in(self, rows: Iterable[VerdictRow]) -> None:
        """Let rows count that are in the ledger."""
        with self.lock:
            rows = list(rows)
            self.tally.add(rows)
            changed = sorted(self.board.add(rows))
            for image_id, row in zip(changed, self._catalog.rows_of(changed).tolist(), strict=True):
                if row >= 0:  # the run may have lost images since somebody spoke of them
                    self._update(row, self.board.current(image_id))

    def _update(self, row: int, current: CurrentVerdict | None) -> None:
        before = {name for name, rows in self._mine.items() if row in rows}
        now = set(current.by_annotator) if current else set()
        for name in before - now:
            self._mine[name].discard(row)
        for name in now - before:
            self._mine.setdefault(name, set()).add(row)
        self.n_voices[row] = len(now)
        is_adjudicated = current is not None and current.is_adjudicated
        self.is_settled[row] = is_adjudicated or len(now) >= self._needed
        if current is None:
            self.state[row] = UNTOUCHED
        else:
            self.state[row] = {None: OPEN, False: KEPT, True: REMOVED}[current.unwanted]

    def rows_of(self, annotator: str) -> set[int]:
        """Return the rows that a reviewer has a verdict on."""
        return self._mine.get(annotator, set())

    def disputed(self) -> Int64[np.ndarray, "m"]:
        """Return the rows that have all their voices, and no decision."""
        return np.flatnonzero((self.state == OPEN) & self.is_settled)

    def counts(self) -> dict[str, int]:
        """Return how many images are decided, kept, removed and disputed."""
        n = np.bincount(self.state, minlength=4).tolist()
        return {
            "decided": n[KEPT] + n[REMOVED],
            "kept": n[KEPT],
            "removed": n[REMOVED],
            "disputed": len(self.disputed()),
        }
