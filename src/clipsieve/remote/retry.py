"""Trying again what may go better the next time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["ATTEMPTS", "is_lasting", "with_retries"]

T = TypeVar("T")

ATTEMPTS = 5
FIRST_WAIT_S = 0.2
MAX_S = 60.0  # nobody waits longer for one image, however many attempts are left
GROWTH = 3.0  # 0.2, 0.6, 1.8, 5.4 s: a server has 8 s to recover

_LASTING = (
    FileExistsError,
    FileNotFoundError,
    PermissionError,
    NotADirectoryError,
    IsADirectoryError,
    ImportError,
    ValueError,
    TypeError,
)
_PASSING_STATUS = {408, 425, 429}


def with_retries(call: Callable[[], T], *, wait: Callable[[float], object] = time.sleep) -> T:
    """Return what a call returns; call it again, up to 5 times with growing pauses, while its error may pass.

    Parameters
    ----------
    call : callable
        Safe to repeat.
    wait : callable
        Takes seconds.

    Raises
    ------
    Exception
        The last error of the call.
    """
    begun_s = time.monotonic()
    for attempt in range(ATTEMPTS - 1):
        try:
            return call()
        except Exception as error:
            if is_lasting(error) or time.monotonic() - begun_s > MAX_S:
                raise
        # Spread, so that many readers that failed together do not come back together.
        wait(FIRST_WAIT_S * GROWTH**attempt * random.uniform(0.75, 1.25))  # noqa: S311
    return call()


def is_lasting(error: Exception) -> bool:
    """Return whether the same call would fail again: nothing there, not allowed, a request that makes no sense."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status not in _PASSING_STATUS
    return isinstance(error, _LASTING) or type(error).__name__ == "NoCredentialsError"
