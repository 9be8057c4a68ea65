"""Waiting for what other threads, processes and pages do: until it is so, and not for a time that is long enough by luck."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], say: str = "it never came true", timeout_s: float = 60.0) -> None:
    """Wait until something holds; AssertionError with these words if it does not in time."""
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, say
        time.sleep(0.02)
