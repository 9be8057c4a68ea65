"""The cores of this process, and small fits side by side, each on one of them.

A library for linear algebra divides a product among its own threads, in an order that depends on their number; the last digits
follow. With one thread in each fit they do not, and fits beside each other use the cores better than one fit on all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["n_cores", "one_core_each"]


def n_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_core_each(n_threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool with a thread for each core; in it, and beside it, linear algebra stays on one core.

    More threads than cores are for work that mostly waits, such as for a service.
    """
    from threadpoolctl import threadpool_limits

    pool = ThreadPoolExecutor(n_threads or n_cores())
    with threadpool_limits(limits=1, user_api="blas"):
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, what has not begun is not begun
