"""Files that are put behind a URL: whole or not there at all, on servers that write in place as well."""

from __future__ import annotations

import contextlib
import secrets

from clipsieve.outputs.export.local_files import LEFTOVER, temporary_name
from clipsieve.sources.retry import with_retries
from clipsieve.sources.storage import Storage

__all__ = ["put_whole", "takes_files"]

# Object stores: an object is there once all of it has come. Everywhere else a file grows under its name.
_PUT_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory"})


def put_whole(storage: Storage, file: str, path: str) -> None:
    """Send a file of this machine; an older one is replaced.

    Where a server writes in place, it is written beside the older one and renamed: a line that breaks leaves a file that
    `is_leftover` knows. How a server renames is its own matter: with those that copy, what breaks just then may be cut off.

    Raises
    ------
    Exception
        The last one of the service, after passing ones were met by trying again.
    """
    protocol = storage.location.partition("://")[0].lower().rpartition("::")[2]
    if protocol in _PUT_WHOLE:
        with_retries(lambda: storage.filesystem.put_file(file, path))
        return
    try:
        with_retries(lambda: _put_and_rename(storage, file, path))
    except BaseException:
        with contextlib.suppress(Exception):
            storage.filesystem.rm_file(temporary_name(path))
        raise


def _put_and_rename(storage: Storage, file: str, path: str) -> None:
    temporary = temporary_name(path)
    storage.filesystem.put_file(file, temporary)
    if storage.filesystem.exists(path):  # not every server renames onto what is there
        storage.filesystem.rm_file(path)
    storage.filesystem.mv(temporary, path)


def takes_files(storage: Storage) -> bool:
    """Return whether a place takes a file at all: an empty one is put and removed."""
    path = f"{storage.root.rstrip('/')}/{LEFTOVER.format(secrets.token_hex(8))}"
    try:
        with_retries(lambda: storage.filesystem.pipe_file(path, b""))
    except Exception:  # noqa: BLE001 - each service raises its own
        return False
    with contextlib.suppress(Exception):
        storage.filesystem.rm_file(path)
    return True
