"""One writer at a time for each run folder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from clipsieve.errors import RunConflictError, RunError
from clipsieve.store.lease import leased
from clipsieve.store.paths import RunPath, is_remote

__all__ = ["LOCK_NAME", "cannot_write", "is_a_file", "locked"]

LOCK_NAME = ".lock"

_log = logging.getLogger("clipsieve.store")


@contextmanager
def locked(folder: RunPath, *, on_wait: Callable[[str], object] = _log.warning) -> Iterator[None]:
    """Hold a folder for this process, and make it if it is not there.

    On this machine the system itself releases the lock when the process ends, however it ends. Behind a URL the lock of a process
    that was killed lapses within a minute (`docs/format.md`).

    A folder that was made for the lock and stayed empty is removed again.

    Parameters
    ----------
    folder : Path or UPath
        Of a run, or another one.
    on_wait : callable
        Called with a sentence before a lock behind a URL is watched for up to a minute; by default it is logged as a warning.

    Raises
    ------
    RunConflictError
        If another process holds it; says which.
    RunError
        If the folder cannot be written to.
    """
    if is_remote(folder):
        with leased(folder, LOCK_NAME, on_wait):
            yield
        return
    assert isinstance(folder, Path)  # noqa: S101 - the other kind is dealt with
    with _flocked(folder):
        yield


def is_a_file(path: RunPath) -> RunConflictError:
    """Return the error of a place where a folder is wanted."""
    return RunConflictError(f"`{path}` is a file", expected="a new folder", state="nothing was written")


def cannot_write(folder: Path, error: OSError) -> RunError:
    """Return the error of a folder of this machine that nothing can be written to."""
    return RunError(
        f"cannot write to the folder `{folder}`: {error.strerror}",
        state="nothing was written",
        hint="choose another folder with `-o`, or mend the permissions",
    )


@contextmanager
def _flocked(folder: Path) -> Iterator[None]:
    if folder.exists() and not folder.is_dir():
        raise is_a_file(folder)
    is_new = not folder.exists()
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        raise cannot_write(folder, error) from error
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
