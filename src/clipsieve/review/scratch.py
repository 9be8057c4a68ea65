"""Rows of numbers in a nameless file of the system's folder for temporary files: for what need not stay in memory."""

from __future__ import annotations

import tempfile
import threading
import weakref
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from clipsieve.errors import RunError

__all__ = ["ScratchRows"]


class ScratchRows:
    """An array of n rows on disk. It has no name where the system allows that, and is gone with the process. Safe for threads.

    Parameters
    ----------
    dim : int
        Numbers in a row.
    dtype : numpy dtype
        Of the numbers.

    Raises
    ------
    RunError
        If there is no place for temporary files.
    """

    def __init__(self, dim: int, dtype: np.dtype[Any]) -> None:
        self.dim, self.dtype = dim, dtype
        self._row_bytes = dim * dtype.itemsize
        self._lock = threading.Lock()
        try:
            self._file = tempfile.TemporaryFile(buffering=0, prefix="clipsieve-")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _refused(error) from error
        self.close = weakref.finalize(self, self._file.close)

    def write(self, start: int, rows: Float[np.ndarray, "m d"]) -> None:
        """Write rows from a place on; RunError if the disk is full."""
        view = np.ascontiguousarray(rows, dtype=self.dtype).data.cast("B") if rows.size else memoryview(b"")
        try:
            with self._lock:
                self._file.seek(start * self._row_bytes)
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            raise _refused(error) from error

    def read(self, rows: Int64[np.ndarray, "m"]) -> Float[np.ndarray, "m d"]:
        """Return some rows, as they were written; reading them in order is the fastest.

        They are read and not mapped: a mapped file would count as memory of the process.
        """
        found = np.empty((len(rows), self.dim), dtype=self.dtype)
        views = found.data.cast("B") if found.size else memoryview(b"")
        try:
            with self._lock:
                for place, row in enumerate(rows.tolist()):
                    self._file.seek(row * self._row_bytes)
                    part = views[place * self._row_bytes : (place + 1) * self._row_bytes]
                    if self._file.readinto(part) != self._row_bytes:
                        raise OSError("a temporary file was cut short")
        except (OSError, ValueError) as error:  # the latter after `close`
            raise _refused(error) from error
        return found


def _refused(error: Exception) -> RunError:
    reason = getattr(error, "strerror", None) or error
    return RunError(
        f"cannot keep the embeddings in a temporary file in `{tempfile.gettempdir()}`: {reason}",
        hint="name a folder with room for the embeddings of the run in the environment variable TMPDIR",
    )
