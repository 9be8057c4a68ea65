"""Reading one file of this machine that nobody has vetted."""

from __future__ import annotations

import hashlib
import os
import stat

from clipsieve.types import Failure, FailureCode, FailureStep

__all__ = ["read_failure", "read_local_file", "stamp_of_local_file", "too_many_bytes"]


def read_local_file(path: bytes, max_bytes: int, *, inside: bytes | None = None) -> bytes | Failure:
    """Return the content of a regular file, or why there is none.

    Parameters
    ----------
    path : bytes
        Absolute. Pipes, sockets and devices are never read.
    max_bytes : int
        A larger file is not read.
    inside : bytes, optional
        A folder's real path: what lies elsewhere, by a link, is not read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return read_failure(FailureCode.READ_ERROR, "not a regular file")
            if inside is not None and not _real_path(file.fileno()).startswith(os.path.join(inside, b"")):
                return read_failure(FailureCode.NOT_PERMITTED, "a link leads it out of the source")
            if facts.st_size > max_bytes:
                return too_many_bytes(facts.st_size, max_bytes)
            return file.read(max_bytes)
    except FileNotFoundError:
        return read_failure(FailureCode.NOT_FOUND, "listed, but not there when it was read")
    except PermissionError:
        return read_failure(FailureCode.NOT_PERMITTED, "no permission to read it")
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return read_failure(FailureCode.READ_ERROR, words or type(error).__name__)


def _real_path(descriptor: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % descriptor)


def stamp_of_local_file(folder: str, name: str) -> int:
    """Return a number that changes when a file that a table names does: its size or time; 0 for a URL, 1 if it is not there."""
    if "://" in name:
        return 0
    try:
        facts = os.stat(os.path.join(folder, name))
    except (OSError, ValueError):
        return 1
    digest = hashlib.blake2b(f"{facts.st_size} {facts.st_mtime_ns}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def read_failure(code: FailureCode, detail: str) -> Failure:
    """Return the failure of an image that could not be read."""
    return Failure(FailureStep.READ, code, detail)


def too_many_bytes(n_bytes: int, max_bytes: int) -> Failure:
    """Return the failure of an image that is too large to be read."""
    return read_failure(FailureCode.TOO_MANY_BYTES, f"{n_bytes:,} bytes, allowed {max_bytes:,}")
