"""Lanes: what takes long keeps its own threads busy, and never those that others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException

__all__ = ["Lane", "Lanes"]

T = TypeVar("T")
AGAIN_S = 2


class Lane:
    """Calls that block, so many at a time; a few more may wait for a while, and all others are refused at once.

    Parameters
    ----------
    n_at_once : int
        Threads, >= 1.
    n_waiting : int, default=200
        Calls that may wait; they hold no thread.
    wait_s : float, default=5.0
        For how long.
    """

    def __init__(self, n_at_once: int, *, n_waiting: int = 200, wait_s: float = 5.0) -> None:
        self._free, self._threads = asyncio.Semaphore(n_at_once), CapacityLimiter(n_at_once)
        self._most, self._wait_s = n_waiting, wait_s
        self._n_waiting = 0

    async def run(self, work: Callable[..., T], *args: object, **named: object) -> T:
        """Return what a call returns.

        Raises
        ------
        HTTPException
            503, with Retry-After, if its turn does not come.
        """
        await self._enter()
        try:
            return await run_sync(partial(work, *args, **named), limiter=self._threads)
        finally:
            self._free.release()

    async def _enter(self) -> None:
        if self._free.locked() and self._n_waiting >= self._most:
            raise _busy()
        self._n_waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise _busy() from None
        finally:
            self._n_waiting -= 1


class Lanes:
    """The lanes of a server; what is on none of them shares the threads of the framework.

    Attributes
    ----------
    decisions : Lane
        What people decided: a ledger that somebody holds locked stops no more than these.
    leases : Lane
        Images that are handed out and given back.
    pictures : Lane
        A source that is slow or gone stops no more than these.
    logins : Lane
        Strangers who try passwords stop no more than these.
    """

    def __init__(self) -> None:
        self.decisions, self.leases = Lane(16), Lane(8)
        self.pictures, self.logins = Lane(8), Lane(4, n_waiting=50)


def _busy() -> HTTPException:
    return HTTPException(503, headers={"Retry-After": str(AGAIN_S)})
