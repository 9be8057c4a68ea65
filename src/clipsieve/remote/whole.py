"""Files that are put behind a URL: whole or not there at all, on servers that write in place as well."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from clipsieve.remote.retry import with_retries

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["is_put_whole", "put_whole", "replace"]

# Object stores: an object is there once all of it has come. Everywhere else a file grows under its name.
_PUT_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory"})


def is_put_whole(protocol: str) -> bool:
    """Return whether a service shows a file when all of it has come, and not before; of a chain, the last service decides."""
    return protocol.lower().rpartition("::")[2] in _PUT_WHOLE


def put_whole(
    filesystem: AbstractFileSystem, protocol: str, path: str, temporary: str, put: Callable[[str], object]
) -> None:
    """Put a file; an older one is replaced.

    Where a server writes in place, it is written beside the older one and renamed. How a server renames is its own matter: with
    those that copy, what breaks just then may be cut off.

    Parameters
    ----------
    filesystem : AbstractFileSystem
        Where to.
    protocol : str
        That of its URLs.
    path, temporary : str
        The file's name, and the one that it has until it is whole.
    put : callable
        Puts the content under the name that it is given; may be called again.

    Raises
    ------
    Exception
        The last one of the service, after passing ones were met by trying again.
    """
    if is_put_whole(protocol):
        with_retries(lambda: put(path))
        return
    try:
        with_retries(lambda: put(temporary))
        replace(filesystem, temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):
            filesystem.rm_file(temporary)
        raise


def replace(filesystem: AbstractFileSystem, path: str, target: str) -> None:
    """Give a file another name on a server that writes in place; what has that name is replaced.

    Not every server renames onto what is there. So that is put aside first, and comes back if the rest fails.
    """
    aside = f"{target}.old"
    has_old = bool(with_retries(lambda: filesystem.exists(target)))
    if has_old:
        filesystem.mv(target, aside)
    try:
        filesystem.mv(path, target)
    except BaseException:
        if has_old:
            filesystem.mv(aside, target)
        raise
    if has_old:
        with contextlib.suppress(Exception):
            filesystem.rm_file(aside)
