"""Files of this machine that are written under another name first, and what a killed process leaves of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from clipsieve.errors import SourceError
from clipsieve.sources.names import legible

__all__ = [
    "LEFTOVER",
    "flush_folder",
    "holds_files",
    "is_leftover",
    "opened",
    "remove_leftovers",
    "temporary_beside",
    "temporary_name",
]

LEFTOVER = ".clipsieve-{}.tmp"  # filled with 16 hexadecimal digits

_LEFTOVER = re.compile(r"\.clipsieve-[0-9a-f]{16}\.tmp")


def is_leftover(name: str) -> bool:
    """Return whether a file is called as one is while it is written: what a killed process leaves, and never data."""
    return _LEFTOVER.fullmatch(name) is not None


def temporary_name(path: str, owner: str = "") -> str:
    """Return a name in the same folder that no other file has.

    It follows from that of the file, so that whoever writes the file again also removes what was left of it; and from `owner`,
    where several may write the same file at the same time.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, LEFTOVER.format(hashlib.sha256(os.fsencode(name) + owner.encode()).hexdigest()[:16]))


@contextmanager
def temporary_beside(path: str, owner: str = "") -> Iterator[str]:
    """Yield the `temporary_name` of a file; what is left there is removed."""
    temporary = temporary_name(path, owner)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def remove_leftovers(folder: str) -> None:
    """Remove at any depth what workers that were killed have left unfinished; nobody writes there any more."""
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            if is_leftover(os.fsdecode(name)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(parent, name))


def opened(path: str) -> BinaryIO:
    """Open a file for reading; SourceError if that cannot be done."""
    try:
        return open(path, "rb")
    except OSError as error:
        where = legible(os.fsencode(path))
        raise SourceError(f"cannot read `{where}`: {error.strerror}", hint="make it readable") from error


def holds_files(folder: str, passed_over: str) -> bool:
    """Return whether a file lies in a folder at any depth; leftovers and those with one name do not count."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if holds_files(entry.path, passed_over):
                    return True
            elif entry.name != passed_over and not is_leftover(entry.name):
                return True
    return False


def flush_folder(folder: str) -> None:
    """Bring the names in a folder onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
