"""Files of an export that are put behind a URL."""

from __future__ import annotations

import contextlib
import secrets

from clipsieve.outputs.export.local_files import LEFTOVER, temporary_name
from clipsieve.remote import whole
from clipsieve.remote.retry import with_retries
from clipsieve.sources.storage import Storage

__all__ = ["put_whole", "takes_files"]


def put_whole(storage: Storage, file: str, path: str, owner: str = "") -> None:
    """Send a file of this machine: it is whole or not there; a line that breaks leaves at most what `is_leftover` knows.

    `owner` is as for `temporary_name`.

    Raises
    ------
    Exception
        The last one of the service, after passing ones were met by trying again.
    """
    protocol, filesystem = storage.location.partition("://")[0], storage.filesystem
    whole.put_whole(filesystem, protocol, path, temporary_name(path, owner), lambda to: filesystem.put_file(file, to))


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
