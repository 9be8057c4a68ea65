"""Memory without a name, for two processes that hand its descriptor to each other."""

from __future__ import annotations

import os
import tempfile

__all__ = ["open_segment"]


def open_segment(n_bytes: int = 0) -> int:
    """Return the descriptor of memory that is gone with the last process that holds it; where there is none, of a file.

    Parameters
    ----------
    n_bytes : int, default=0
        Its size at first, all zeros; who writes behind the end makes it longer.

    Raises
    ------
    OSError
        If the system gives no more descriptors, or not that size.
    """
    if hasattr(os, "memfd_create"):
        segment = os.memfd_create("clipsieve")
    else:
        with tempfile.TemporaryFile() as file:
            segment = os.dup(file.fileno())
    try:
        os.truncate(segment, n_bytes)
    except OSError:
        os.close(segment)
        raise
    return segment
