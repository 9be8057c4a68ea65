"""How a process ended, in words."""

import signal

__all__ = ["how_it_ended"]


def how_it_ended(status: int) -> str:
    """Return how a process ended that did not end well, and nothing for one that did."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"failed with status {status}" if status else ""
