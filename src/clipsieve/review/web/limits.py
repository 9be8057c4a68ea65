"""Token buckets: how often somebody may do something."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from clipsieve.review.web.access import Limit

__all__ = ["Buckets", "address_key"]

MAX_KEYS = 20_000  # so many people or addresses are remembered, those heard of last


class Buckets:
    """One bucket for each key. Thread-safe.

    Parameters
    ----------
    limit : Limit
        Of each.
    clock : callable, default=time.monotonic
        Seconds.
    """

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when

    def take(self, key: str) -> int:
        """Take one and return 0; if there is none, return in how many whole seconds there will be."""
        with self._lock:
            left = self._left(key)
            if left < 1:
                return max(1, math.ceil((1 - left) / self._limit.per_s))
            self._keep(key, left - 1)
            return 0

    def give_back(self, key: str) -> None:
        """Put back what was taken: it did not count."""
        with self._lock:
            self._keep(key, self._left(key) + 1)

    def _left(self, key: str) -> float:
        left, when = self._buckets.get(key, (self._limit.burst, 0.0))
        return min(self._limit.burst, left + (self._clock() - when) * self._limit.per_s)

    def _keep(self, key: str, left: float) -> None:
        self._buckets[key] = (min(left, self._limit.burst), self._clock())
        self._buckets.move_to_end(key)
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)


def address_key(client: tuple[str, int] | None) -> str:
    """Return what stands for the address of a client: IPv6 hands out whole /64 networks to one household."""
    if client is None:
        return ""
    try:
        address = ip_address(client[0])
    except ValueError:
        return client[0]
    return str(IPv6Address(int(address) >> 64 << 64)) if isinstance(address, IPv6Address) else str(address)
