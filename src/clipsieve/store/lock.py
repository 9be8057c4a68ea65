"""One writer at a time for each run folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from clipsieve.errors import RunConflictError, RunError

__all__ = ["LOCK_NAME", "locked"]

LOCK_NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and make it if it is not there.

    The system itself releases the lock when the process ends, however it ends. A folder that was made for the lock and stayed
    empty is removed again.

    Raises
    ------
    RunConflictError
        If another process holds it; says which.
    RunError
        If the folder cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise RunConflictError(f"`{folder}` is a file", expected="a new folder", state="nothing was written")
    is_new = not folder.exists()
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        raise RunError(
            f"cannot write to the folder `{folder}`: {error.strerror}",
            state="nothing was written",
            hint="choose another folder with `-o`, or mend the permissions",
        ) from error
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds without words
            os.ftruncate(descriptor, 0)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}, since {now}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _acquire(path: Path) -> int:
    """Open and lock the file; one that its last holder removed in between is not the folder's lock any more."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace")
            os.close(descriptor)
            raise RunConflictError(
                f"another process is writing to `{path.parent}`",
                found=holder or None,
                state="nothing was written",
                hint="wait until it has finished, or choose another folder",
            ) from None
        os.close(descriptor)
