"""Gzip files as files that can be read anywhere: unpacked to the disk first."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tempfile
import zlib
from typing import BinaryIO

from clipsieve.remote.connect import no_room

__all__ = ["MAX_UNPACKED_BYTES", "unpack"]

MAX_UNPACKED_BYTES = 256 * 1024**3
_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


def unpack(file: BinaryIO) -> tuple[BinaryIO, str | None]:
    """Return a file of the unpacked bytes, and why they end too early if they do.

    A file that is not gzip, whatever its name, comes back as it is. The unpacked file has no name and vanishes with the process.

    Raises
    ------
    SourceError
        If the disk is full.
    """
    head = file.read(len(_MAGIC))
    file.seek(0)
    if head != _MAGIC:
        return file, None
    target = tempfile.TemporaryFile(prefix="clipsieve-")  # noqa: SIM115 - the caller closes it
    try:
        return target, _copy(file, target)
    except OSError as error:
        target.close()
        if error.errno == errno.ENOSPC:
            raise no_room() from error
        raise
    finally:
        file.close()
        target.closed or target.seek(0)


def _copy(packed: BinaryIO, target: BinaryIO) -> str | None:
    allowed = min(MAX_UNPACKED_BYTES, shutil.disk_usage(tempfile.gettempdir()).free)
    n_bytes = 0
    with gzip.GzipFile(fileobj=packed) as stream:
        try:
            while chunk := stream.read1(_CHUNK_BYTES):  # what came before an error is not lost, as with `read`
                n_bytes += len(chunk)
                if n_bytes > MAX_UNPACKED_BYTES:
                    return f"unfolds to more than the {MAX_UNPACKED_BYTES:,} bytes that are allowed"
                if n_bytes > allowed:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                target.write(chunk)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            return f"gzip ends too early after {n_bytes:,} unpacked bytes: {error}"
    return None
