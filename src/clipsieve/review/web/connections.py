"""Connections that hold nothing up: whoever says nothing is hung up on, and nobody takes them all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from ipaddress import ip_address

from uvicorn.protocols.http.h11_impl import H11Protocol

from clipsieve.review.web.limits import address_key

__all__ = ["MAX_CONNECTIONS", "MAX_OF_ADDRESS", "BehindAnother", "Bounded"]

HEADER_S = 10.0  # for a whole header, from the connection or from its first byte on
UNREAD_S = 30.0  # for a client to take what it asked for
MAX_CONNECTIONS, MAX_OF_ADDRESS = 800, 100


class Bounded(H11Protocol):
    """One connection, with an end to each silence.

    Of one address so many are open at a time, and so many of all: the oldest that nothing is being answered on gives way to a
    new one, and where all are busy the new one is closed. So strangers who hold connections keep nobody out.

    Attributes
    ----------
    trusts_loopback : bool
        Whether all that comes from this machine comes from a server in front of this one.
    address : str
        Where it comes from; a household is one address.
    since : float
        When it was opened, in seconds of `time.monotonic`.
    """

    trusts_loopback = False
    address = ""
    since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(transport)
        self.address, self.since = address_key(self.client), time.monotonic()
        self._silence = _Deadline(self.loop, HEADER_S, transport.abort)
        self._unread = _Deadline(self.loop, UNREAD_S, transport.abort)
        if self._make_room():
            self._silence.start()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came; what is no whole header yet must soon be one."""
        super().data_received(data)
        if self.is_idle():
            self._silence.start()
        else:
            self._silence.stop()

    def pause_writing(self) -> None:
        """Wait for a client that does not take its answer, but not for ever."""
        super().pause_writing()
        self._unread.start()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._silence.stop()
        self._unread.stop()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Return whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> bool:
        others = [each for each in self.connections if isinstance(each, Bounded) and each is not self]
        same = [] if self.is_trusted() else [each for each in others if each.address == self.address]
        for crowd, most in ((same, MAX_OF_ADDRESS), (others, MAX_CONNECTIONS)):
            if len(crowd) < most:
                continue
            idle = [each for each in crowd if each.is_idle() and not each.is_trusted()]
            if not idle:
                return False
            longest = min(idle, key=lambda each: each.since)
            self.connections.discard(longest)  # it counts no more, though it takes a moment to close
            longest.transport.abort()
        return True

    def is_trusted(self) -> bool:
        """Return whether it comes from the server in front of this one."""
        return self.trusts_loopback and self.client is not None and ip_address(self.client[0]).is_loopback


class BehindAnother(Bounded):
    """The same behind another server on this machine, all of whose connections come from one address."""

    trusts_loopback = True


class _Deadline:
    """Acts once after so many seconds, unless it is stopped; starting it again changes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, act: Callable[[], object]) -> None:
        self._loop, self._seconds, self._act = loop, seconds, act
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._act)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
