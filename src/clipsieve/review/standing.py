"""How each image of a run stands with its reviewers: the ledger's rows as arrays, kept up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int16, Int64, UInt8

from clipsieve.review.catalog import Catalog
from clipsieve.review.consensus import Board
from clipsieve.review.records import CurrentVerdict, VerdictRow
from clipsieve.review.tally import Tally
from clipsieve.review.versions import is_about

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["KEPT", "OPEN", "REMOVED", "UNTOUCHED", "Standing"]

UNTOUCHED, KEPT, REMOVED, OPEN = range(4)
SYNC_S = 0.5  # rows that another server wrote are seen after this time
_CHUNK = 500  # images whose verdicts are worked out before others may decide again
_STATES = {None: OPEN, False: KEPT, True: REMOVED}


class Standing:
    """The board of verdicts, and what follows of it for every row of the run.

    A row of the ledger counts if it is about the file that the run holds: one about a file that has been replaced since, or
    is gone, says nothing of what lies there now.

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
        What holds for each image; for callers that hold `lock`.
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
        self.tally = Tally()
        self.lock = threading.RLock()
        self.state: UInt8[np.ndarray, "n"] = np.zeros(catalog.n, dtype=np.uint8)
        self.n_voices: Int16[np.ndarray, "n"] = np.zeros(catalog.n, dtype=np.int16)
        self.is_settled: Bool[np.ndarray, "n"] = np.zeros(catalog.n, dtype=bool)
        self._catalog, self._ledger, self._needed = catalog, ledger, reviews_per_image
        self._sequence, self._synced = 0, -np.inf
        self._rows: dict[str, VerdictRow] = {}
        self._mine: dict[str, set[int]] = {}
        # Counted as they change: the page asks after each verdict, and a run may have a million rows.
        self._settled, self._disputed, self._elsewhere = {KEPT: 0, REMOVED: 0, OPEN: 0}, set[int](), set[str]()
        self.sync()

    def sync(self, *, at_once: bool = False) -> None:
        """Take in what others have written since the last time, at most twice a second unless it must be now."""
        with self.lock:
            if not at_once and time.monotonic() - self._synced < SYNC_S:
                return
            found = self._ledger.rows(self._sequence)
            if found:
                self._sequence = found[-1][0]
                self._take_in([row for _, row in found])
            self._synced = time.monotonic()

    def write(self, rows: Sequence[VerdictRow]) -> set[str]:
        """Write rows into the ledger; those whose ids are returned are durable and count.

        The others have the id of a row that says something else.
        """
        new = self._ledger.append(rows)
        with self.lock:
            self._take_in([row for row in rows if row.verdict_id in new])
            if any(row.verdict_id not in self._rows for row in rows):  # another server wrote them
                self.sync(at_once=True)
            return {row.verdict_id for row in rows if _says_the_same(self._rows.get(row.verdict_id), row)}

    def known(self, verdict_id: str) -> VerdictRow | None:
        """Return a row of the ledger, whether it counts or not."""
        with self.lock:
            if verdict_id not in self._rows:
                self.sync(at_once=True)
            return self._rows.get(verdict_id)

    def latest(self, image_id: str, annotator: str) -> datetime | None:
        """Return when a person last said something of an image that still counts."""
        with self.lock:
            row = self.board.latest(image_id, annotator)
            return None if row is None else row.made

    def rows(self) -> list[VerdictRow]:
        """Return all rows of the ledger, of now, that are about files that the run holds."""
        self.sync(at_once=True)
        with self.lock:
            return self._counting(list(self._rows.values()))

    def _counting(self, rows: Sequence[VerdictRow]) -> list[VerdictRow]:
        places = self._catalog.rows_of([row.image_id for row in rows]).tolist()
        pairs = zip(rows, places, strict=True)
        return [row for row, place in pairs if place >= 0 and is_about(row, self._catalog.sha256(place))]

    def _take_in(self, rows: Iterable[VerdictRow]) -> None:
        new = list({row.verdict_id: row for row in reversed(list(rows)) if row.verdict_id not in self._rows}.values())
        new.reverse()  # of two with the same id, the first is the one that was written
        self._rows.update((row.verdict_id, row) for row in new)
        self.tally.add(new)
        counting = self._counting(new)
        self._elsewhere.update({row.image_id for row in new} - {row.image_id for row in counting})
        changed = sorted(self.board.add(counting))
        for image_id, place in zip(changed, self._catalog.rows_of(changed).tolist(), strict=True):
            self._update(place, self.board.current(image_id))

    def _update(self, row: int, current: CurrentVerdict | None) -> None:
        now = set(current.by_annotator) if current else set()
        for name, rows in self._mine.items():
            if name not in now:
                rows.discard(row)
        for name in now:
            self._mine.setdefault(name, set()).add(row)
        is_adjudicated = current is not None and current.is_adjudicated
        state = UNTOUCHED if current is None else _STATES[current.unwanted]
        self._count(row, -1)
        self.n_voices[row], self.state[row] = len(now), state
        self.is_settled[row] = is_adjudicated or len(now) >= self._needed
        self._count(row, 1)
        if state == OPEN and self.is_settled[row] and not is_adjudicated:
            self._disputed.add(row)
        else:
            self._disputed.discard(row)

    def _count(self, row: int, by: int) -> None:
        if self.is_settled[row]:
            self._settled[int(self.state[row])] += by

    def rows_of(self, annotator: str) -> set[int]:
        """Return the rows that a reviewer has a verdict on."""
        with self.lock:
            return set(self._mine.get(annotator, ()))

    def n_of(self, annotator: str) -> int:
        """Return how many images a reviewer has a verdict on."""
        return len(self._mine.get(annotator, ()))

    def disputed(self) -> Int64[np.ndarray, "m"]:
        """Return the rows that have all their voices, no decision, and nobody who has settled it."""
        with self.lock:
            return np.array(sorted(self._disputed), dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """Return how many images are done with: kept, removed or left open; and how many are disputed."""
        with self.lock:
            kept, removed = self._settled[KEPT], self._settled[REMOVED]
            return {"decided": kept + removed, "kept": kept, "removed": removed, "disputed": len(self._disputed)}

    @property
    def n_elsewhere(self) -> int:
        """How many images there are verdicts on that are about another file than the run holds, or none of its."""
        return len(self._elsewhere)

    def verdicts(self) -> Iterator[CurrentVerdict]:
        """Yield what holds for each image, and let others decide in between."""
        with self.lock:
            names = self.board.image_ids()
        for start in range(0, len(names), _CHUNK):
            with self.lock:
                found = [self.board.current(name) for name in names[start : start + _CHUNK]]
            yield from (verdict for verdict in found if verdict is not None)


def _says_the_same(known: VerdictRow | None, row: VerdictRow) -> bool:
    def said(one: VerdictRow) -> tuple[str | None, ...]:
        return one.annotator, one.image_id, one.choice, one.voice, one.undoes

    return known is not None and said(known) == said(row)
