"""What several threads ask for at once is made once, and kept as long as there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["ByteBounded", "Once"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteBounded(Generic[K, V]):
    """A dictionary of bounded size: what was not asked for the longest goes first. Any thread may use it.

    Parameters
    ----------
    max_bytes : int
        Of all values together; a value that is larger by itself is not kept.
    size_of : callable
        Returns the size of a value in bytes.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()
        self._n_bytes = 0

    @property
    def n_bytes(self) -> int:
        """The size of all values together."""
        return self._n_bytes

    def get(self, key: K) -> V | None:
        """Return a value and keep it longer; None if it is not there, or no longer."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, and let go of others as far as needed."""
        n_bytes = self._size_of(value)
        with self._lock:
            if key in self._values:
                self._n_bytes -= self._size_of(self._values.pop(key))
            if n_bytes > self._max_bytes:
                return
            self._values[key] = value
            self._n_bytes += n_bytes
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= self._size_of(self._values.popitem(last=False)[1])


class Once(Generic[K, V]):
    """Makes a thing once for all threads that ask for it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._being_made: dict[K, Future[V]] = {}

    def do(self, key: K, make: Callable[[], V]) -> V:
        """Return what `make` returns, or what it returns for another thread that has begun already; its errors too."""
        with self._lock:
            future = self._being_made.get(key)
            is_mine = future is None
            if future is None:
                future = self._being_made[key] = Future()
        if is_mine:
            self._make(key, future, make)
        return future.result()

    def _make(self, key: K, future: Future[V], make: Callable[[], V]) -> None:
        try:
            future.set_result(make())
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in every thread that waits
            future.set_exception(error)
        finally:
            with self._lock:
                del self._being_made[key]
