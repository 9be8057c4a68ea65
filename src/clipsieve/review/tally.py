"""Who did how much, and how long it took them: counted from the ledger's rows, whether they still count or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from clipsieve.review.records import Choice, VerdictRow

__all__ = ["Tally"]

MAX_DURATION_S = 300.0  # somebody went away; the time says nothing of the image


class Tally:
    """Sums over rows; a row that is added twice counts once.

    Attributes
    ----------
    by_queue : counter of str
        Decisions in each queue.
    """

    def __init__(self) -> None:
        self.by_queue: Counter[str] = Counter()
        self._known: set[str] = set()
        self._durations: defaultdict[str, list[float]] = defaultdict(list)
        self._by_day: defaultdict[tuple[str, date], float] = defaultdict(float)
        self._undone: Counter[str] = Counter()
        self._last: dict[str, datetime] = {}

    def add(self, rows: Iterable[VerdictRow]) -> None:
        """Count rows."""
        for row in rows:
            if row.verdict_id in self._known:
                continue
            self._known.add(row.verdict_id)
            self._last[row.annotator] = max(row.made, self._last.get(row.annotator, row.made))
            if row.choice is Choice.UNDO:
                self._undone[row.annotator] += 1
                continue
            self.by_queue[row.queue or "elsewhere"] += 1
            if row.duration_s is not None and row.duration_s <= MAX_DURATION_S:
                self._durations[row.annotator].append(row.duration_s)
                self._by_day[row.annotator, row.made.date()] += row.duration_s

    def annotators(self) -> list[str]:
        """Return everybody who has spoken, in the order of their names."""
        return sorted(self._last)

    def of(self, annotator: str) -> dict[str, float | int | str | None]:
        """Return how much one person did: undone decisions, the median time of one, and when they last decided."""
        times = sorted(self._durations[annotator]) if annotator in self._durations else []
        last = self._last.get(annotator)
        return {
            "n_undone": self._undone[annotator],
            "median_s": times[len(times) // 2] if times else None,
            "total_s": sum(times),
            "last": last.isoformat(timespec="seconds") if last else None,
        }

    def seconds_on(self, annotator: str, day: date) -> float:
        """Return how long a person decided on one day, UTC."""
        return self._by_day.get((annotator, day), 0.0)
