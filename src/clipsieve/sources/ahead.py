"""Fetching several things at once, in order, with a bounded number on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["fetch_ahead"]

T = TypeVar("T")
R = TypeVar("R")

N_CONNECTIONS = 16
MAX_HELD_BYTES = 256 * 1024**2


def _held_bytes(pending: Iterable[tuple[T, Future[R]]]) -> int:
    """Return the size of what has come and nobody has taken yet."""
    results = [future.result() for _, future in pending if future.done() and future.exception() is None]
    contents = [result[0] if isinstance(result, tuple) else result for result in results]
    return sum(len(content) for content in contents if isinstance(content, bytes))


def fetch_ahead(items: Iterable[T], fetch: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Yield each item with what was fetched for it, in order; up to 16 are fetched at once, each mostly a wait."""
    threads = ThreadPoolExecutor(N_CONNECTIONS, thread_name_prefix="fetch")
    pending: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            pending.append((item, threads.submit(fetch, item)))
            while len(pending) >= 2 * N_CONNECTIONS or (pending and _held_bytes(pending) > MAX_HELD_BYTES):
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:  # also when nobody wants the rest
        threads.shutdown(wait=False, cancel_futures=True)
