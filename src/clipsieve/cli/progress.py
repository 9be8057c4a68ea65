"""Progress on stderr: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from clipsieve.cli.render import print_note, rate, seconds

__all__ = ["ProgressBar"]

LOG_EVERY_S = 30.0


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate(task.speed, 1.0) if task.speed else "")


class ProgressBar:
    """Shows how far a loop has come, how fast it goes and how long it will take.

    Parameters
    ----------
    verb : str
        What is being done: "scanning".
    quiet : bool, default=False
        Show nothing at all.
    """

    def __init__(self, verb: str, *, quiet: bool = False) -> None:
        self._verb = verb
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        columns = (
            TextColumn(verb),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not self._live)
        self._task = self._bar.add_task(verb, total=None)
        self._started_s = self._logged_s = time.monotonic()
        self._n_start: int | None = None

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, n_done: int, n_total: int) -> None:
        """Show that `n_done` of `n_total` are done."""
        if self._n_start is None:
            self._n_start = n_done  # what an earlier run had finished does not count towards the rate
        self._bar.update(self._task, completed=n_done, total=n_total)
        now_s = time.monotonic()
        if not self._live and not self._quiet and now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            self._log(n_done, n_total, now_s - self._started_s)

    def _log(self, n_done: int, n_total: int, elapsed_s: float) -> None:
        n_new = n_done - (self._n_start or 0)
        left = seconds(elapsed_s / n_new * (n_total - n_done)) if n_new else "unknown"
        print_note(f"{self._verb}: {n_done:,} of {n_total:,}, {rate(n_new, elapsed_s)}, {left} left")
