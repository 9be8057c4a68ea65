"""Many who write at once share one transaction, and so one wait for the disk."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from typing import Any

from clipsieve.errors import LedgerError
from clipsieve.review.ledger.database import WAIT_S

__all__ = ["Gathered"]

_UNCHANGED = "nothing was written"


class _Entry:
    """What one caller wants written, and what came of it."""

    def __init__(self, values: list[dict[str, Any]]) -> None:
        self.values = values
        self.is_done = False
        self.new: frozenset[str] = frozenset()
        self.error: LedgerError | None = None


class Gathered:
    """Writes rows in the caller's turn, together with those of everybody who waits meanwhile.

    Parameters
    ----------
    write : callable
        Takes the values of rows, in order; writes all or none, durably; returns the `verdict_id` of those that were new.
    wait_s : float, default=5.0
        So long somebody waits for those who write before them.
    """

    def __init__(self, write: Callable[[list[dict[str, Any]]], set[str]], wait_s: float = WAIT_S) -> None:
        self._write, self._wait_s = write, wait_s
        self._waiting: list[_Entry] = []
        self._is_writing = False
        self._news = threading.Condition()

    def append(self, values: list[dict[str, Any]]) -> frozenset[str]:
        """Return the ids of those rows that were new once all are durable; of two callers with one id, the first wrote it.

        Raises
        ------
        LedgerError
            If they could not be written; then nothing of what waited with them was.
        """
        mine, until = _Entry(values), time.monotonic() + self._wait_s
        with self._news:
            self._waiting.append(mine)
            while self._is_writing and not mine.is_done:
                # What is being written already has an end of its own, and who wrote it must hear of that.
                is_waiting = mine in self._waiting
                if is_waiting and time.monotonic() >= until:
                    self._waiting.remove(mine)
                    raise LedgerError("others write, and do not come to an end", state=_UNCHANGED, hint="send it again")
                self._news.wait(max(until - time.monotonic(), 0.0) if is_waiting else None)
            entries: list[_Entry] = []
            if not mine.is_done:  # else somebody wrote it with their own
                entries, self._waiting, self._is_writing = self._waiting, [], True
        if entries:
            self._write_all(entries)
        if mine.error is not None:
            raise copy.copy(mine.error)  # each thread its own, with its own traceback
        return mine.new

    def _write_all(self, entries: list[_Entry]) -> None:
        failure: LedgerError | None = LedgerError(
            "the verdicts were not written: the program was interrupted", hint="send them again"
        )
        try:
            new = self._write([row for entry in entries for row in entry.values])
            for entry in entries:
                entry.new = frozenset(new & {row["verdict_id"] for row in entry.values})
                new -= entry.new
        except LedgerError as error:
            failure = error
        else:
            failure = None
        finally:
            # Also where this thread is interrupted: those who wait for it must hear of it.
            with self._news:
                for entry in entries:
                    entry.is_done, entry.error = True, failure
                self._is_writing = False
                self._news.notify_all()
