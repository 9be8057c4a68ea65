"""Work that may be wanted soon, done in the background: the newest wishes first, and the oldest forgotten."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

__all__ = ["Prefetcher"]

_NICE = 10

K = TypeVar("K", bound=Hashable)


class Prefetcher(Generic[K]):
    """A few threads that work off wishes.

    Parameters
    ----------
    work : callable
        Called with one wish; what it returns is dropped. It raises nothing.
    n_threads : int
        >= 1.
    most : int, default=600
        Wishes that may wait; beyond that the oldest are forgotten.
    """

    def __init__(self, work: Callable[[K], object], n_threads: int, *, most: int = 600) -> None:
        self._work = work
        self._most = most
        self._changed = threading.Condition()
        self._wishes: OrderedDict[K, None] = OrderedDict()  # the most urgent one comes last
        self._is_closed = False
        self._threads = [threading.Thread(target=self._run, name="prefetch", daemon=True) for _ in range(n_threads)]
        for thread in self._threads:
            thread.start()

    def wish(self, wishes: Sequence[K]) -> None:
        """Add wishes, the most urgent first; they overtake all that wait."""
        with self._changed:
            for each in reversed(wishes[: self._most]):
                self._wishes.pop(each, None)
                self._wishes[each] = None
            while len(self._wishes) > self._most:
                self._wishes.popitem(last=False)
            self._changed.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """Forget all wishes and end the threads; one that hangs in its work is not waited for longer than that."""
        with self._changed:
            self._is_closed = True
            self._wishes.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self) -> None:
        # What somebody waits for goes first. On Linux, a thread has a priority of its own; elsewhere this fails, or is refused.
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (wish := self._next()) is not None:
            self._work(wish)

    def _next(self) -> K | None:
        with self._changed:
            self._changed.wait_for(lambda: self._wishes or self._is_closed)
            return None if self._is_closed else self._wishes.popitem()[0]
