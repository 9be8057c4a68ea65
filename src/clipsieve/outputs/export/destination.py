"""A place that files are written to: a folder of this machine, or a URL through fsspec."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from clipsieve.errors import ClipsieveError, ExportError
from clipsieve.sources.connect import explain, plain_location
from clipsieve.sources.names import legible
from clipsieve.sources.retry import with_retries
from clipsieve.sources.storage import Storage

if TYPE_CHECKING:
    from clipsieve.outputs.export.base import HowToPlace

__all__ = ["Destination"]

_COPY_BYTES = 1 << 20


class Destination:
    """Files below one root; each is whole or absent, whenever the process ends.

    A name is the path below the root, with `/`; a byte of a name of this machine that is no UTF-8 stands as Python's surrogate.
    A name that leads out of the root is refused: names come from other people's archives and tables.

    Parameters
    ----------
    location : str
        A folder, which need not exist yet, or a URL that fsspec knows.

    Raises
    ------
    SourceError, MissingExtraError
        If the URL makes no sense, or needs a library that is not installed.
    """

    def __init__(self, location: str) -> None:
        self._storage = Storage(plain_location(location))
        self.is_local = self._storage.is_local

    @property
    def url(self) -> str:
        """Where it is, for messages and files: an absolute path, or a URL without what gives access."""
        root = self._storage.root
        return legible(os.fsencode(root)) if self.is_local else self._storage.url(root)

    def path(self, name: str) -> str:
        """Return where a file lies, as the file system takes it; ExportError for a name that leads out of the root."""
        parts = name.split("/")
        if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ExportError(
                f"the name `{legible(name.encode(errors='surrogateescape'))[:200]}` leads out of `{self.url}`",
                expected="a path below it, without `.` and `..`",
                state="nothing was written under that name",
                hint="it stands in the source like that: rename it there, and scan again",
            )
        return f"{self._storage.root.rstrip('/')}/{name}"

    def is_empty(self) -> bool:
        """Return whether nothing lies there."""
        if self.is_local:
            root = self._storage.root
            if os.path.exists(root) and not os.path.isdir(root):
                raise ExportError(
                    f"`{self.url}` is a file", expected="a new or empty folder", state="nothing was written"
                )
            return not os.path.isdir(root) or not os.listdir(root)
        try:
            return not self._storage.filesystem.exists(self._storage.root) or not self._storage.names()
        except Exception as error:
            raise self._error("", error) from error

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if there is none."""
        path = self.path(name)
        if self.is_local:
            return os.path.getsize(path) if os.path.isfile(path) else None
        found = self._storage.info(path)
        return None if found is None else found.n_bytes

    def read_bytes(self, name: str) -> bytes | None:
        """Return the content of a small file, None if there is none."""
        path = self.path(name)
        try:
            if self.is_local:
                with open(path, "rb") as file:
                    return file.read()
            return bytes(with_retries(lambda: self._storage.filesystem.cat_file(path)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._error(name, error) from error

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a whole file; an older one is replaced."""
        with self.writer(name) as file:
            file.write(content)

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """Open a new file; it is there, and on the disk, once the block has ended without an error."""
        path = self.path(name)
        try:
            with self._temporary(path) as temporary:
                with open(temporary, "w+b") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                self._commit(temporary, path)
        except OSError as error:
            raise self._error(name, error) from error

    def place(self, name: str, file: str | bytes, how: HowToPlace = "copy") -> None:
        """Bring a file of this machine here: as a copy, or as a link to it, which only this machine can have.

        A hard link that cannot be made, since the file lies on another disk, becomes a copy.
        """
        path = self.path(name)
        source = os.fsdecode(file)
        try:
            with self._temporary(path) as temporary:
                self._link_or_copy(source, temporary, how)
                self._commit(temporary, path)
        except OSError as error:
            raise self._error(name, error) from error

    def _link_or_copy(self, source: str, temporary: str, how: HowToPlace) -> None:
        if self.is_local and how == "symlink":
            os.symlink(os.path.realpath(source), temporary)
            return
        if self.is_local and how == "hardlink":
            with contextlib.suppress(OSError):
                os.link(os.path.realpath(source), temporary)
                return
        # Copied without the rights and times of the source: those of a data set say nothing of its content.
        with open(source, "rb") as old, open(temporary, "wb") as new:
            shutil.copyfileobj(old, new, _COPY_BYTES)

    @contextmanager
    def _temporary(self, path: str) -> Iterator[str]:
        """Yield a name that nothing else has, in the same folder where that can be; what is left there is removed."""
        if not self.is_local:
            with tempfile.TemporaryDirectory(prefix="clipsieve-") as folder:
                yield os.path.join(folder, "file")
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        digest = hashlib.sha256(os.fsencode(os.path.basename(path))).hexdigest()[:16]
        temporary = os.path.join(os.path.dirname(path), f".clipsieve-{digest}.tmp")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        try:
            yield temporary
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _commit(self, temporary: str, path: str) -> None:
        if self.is_local:
            os.replace(temporary, path)
            return
        try:
            with_retries(lambda: self._storage.filesystem.put_file(temporary, path))
        except Exception as error:
            raise self._error(path, error) from error

    def _error(self, name: str, error: Exception) -> ClipsieveError:
        if isinstance(error, ClipsieveError):
            return error
        where = f"{self.url}/{legible(name.encode(errors='surrogateescape'))}" if self.is_local else self.url
        words = error.strerror if isinstance(error, OSError) and error.strerror else explain(error).detail
        room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return ExportError(
            f"cannot write `{where}`: {words}",
            state="every file that is there is whole",
            hint=("make room" if room else "mend the permissions, or name another place")
            + "; the same command again goes on from there",
        )
