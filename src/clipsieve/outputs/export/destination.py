"""A place that files are written to: a folder of this machine, or a URL through fsspec."""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from clipsieve.errors import ClipsieveError, ExportError, SourceError
from clipsieve.outputs.export.local_files import (
    flush_folder,
    holds_files,
    is_leftover,
    opened,
    remove_leftovers,
    temporary_beside,
)
from clipsieve.outputs.export.place_errors import leads_out, no_utf8, shown_name, words_of
from clipsieve.outputs.export.remote_files import put_whole, takes_files
from clipsieve.remote.connect import no_room, plain_location
from clipsieve.remote.retry import with_retries
from clipsieve.sources.names import legible
from clipsieve.sources.storage import Storage
from clipsieve.store.lock import LOCK_NAME

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
        self._owner = ""
        self._folders_inside: set[str] = set()

    def apart(self) -> Destination:
        """Return the same place for a worker beside others, two of which may write the same file at the same time."""
        other = copy.deepcopy(self)
        other._owner = secrets.token_hex(8)  # noqa: SLF001 - it is one of these
        return other

    @property
    def url(self) -> str:
        """Where it is, for messages and files: an absolute path, or a URL without what gives access."""
        root = self._storage.root
        return legible(os.fsencode(root)) if self.is_local else self._storage.url(root)

    @property
    def folder(self) -> Path | None:
        """The root, where it is a folder of this machine."""
        return Path(self._storage.root) if self.is_local else None

    def path(self, name: str) -> str:
        """Return where a file lies, as the file system takes it; ExportError for a name that leads out or is none there."""
        if not self.is_local and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise no_utf8(name, self.url)
        parts = name.split("/")
        if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise leads_out(name, self.url)
        return f"{self._storage.root.rstrip('/')}/{name}"

    def is_empty(self) -> bool:
        """Return whether no file lies there; a lock, and what a killed process has left unfinished, do not count."""
        root = self._storage.root
        try:
            if self.is_local:
                if os.path.lexists(root) and not os.path.isdir(root):
                    raise self._is_a_file()
                return not os.path.isdir(root) or not holds_files(root, passed_over=LOCK_NAME)
            if self._storage.info(root) is not None:
                raise self._is_a_file()
            return not self._exists() or all(is_leftover(name) for name in self._storage.names())
        except Exception as error:
            raise self._error("", error, "read") from error

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if there is none."""
        path = self.path(name)
        if self.is_local:
            return os.path.getsize(path) if os.path.isfile(path) else None
        try:
            found = self._storage.info(path)
        except Exception as error:
            raise self._error(name, error, "read") from error
        return None if found is None else found.n_bytes

    def sizes(self) -> dict[str, int | None]:
        """Return the size of every file that is there, by name, from one listing instead of a request for each."""
        try:
            files = self._storage.find() if self._exists() else []
        except Exception as error:
            raise self._error("", error, "read") from error
        root = self._storage.root.rstrip("/")
        names = {file.path.removeprefix(root).removeprefix("/"): file.n_bytes for file in files}
        return {name: n_bytes for name, n_bytes in names.items() if not is_leftover(name.rpartition("/")[2])}

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
            raise self._error(name, error, "read") from error

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a whole file; an older one is replaced."""
        with self.writer(name) as file:
            file.write(content)

    @contextmanager
    def writer(self, name: str, *, is_flushed: bool = True) -> Iterator[BinaryIO]:
        """Open a new file; it is there once the block has ended without an error.

        An `OSError` in the block counts as one of this place: whoever reads elsewhere in it turns his own into another kind.

        Parameters
        ----------
        name : str
            An older file of that name is replaced.
        is_flushed : bool, default=True
            Whether it is on the disk as well when the block ends, so that it outlasts a power failure. For many small files,
            one `flush` for all of them takes a fraction of the time.
        """
        path = self.path(name)
        try:
            with self._temporary(path) as temporary:
                with open(temporary, "w+b") as file:
                    yield file
                    file.flush()
                    if is_flushed and self.is_local:
                        os.fsync(file.fileno())
                self._commit(temporary, path)
                if is_flushed and self.is_local:
                    flush_folder(os.path.dirname(path))
        except OSError as error:
            raise self._error(name, error) from error

    def place(self, name: str, file: str | bytes, how: HowToPlace = "copy") -> None:
        """Bring a file of this machine here: as a copy, or as a link to it, which only this machine can have.

        A hard link that cannot be made, since the file lies on another disk, becomes a copy. SourceError if the file cannot be
        opened.
        """
        path = self.path(name)
        source = os.fsdecode(file)
        try:
            with self._temporary(path) as temporary:
                self._link_or_copy(source, temporary, how)
                self._commit(temporary, path)
        except OSError as error:
            raise self._error(name, error) from error

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link that reads as `target`, on this machine; one that is there already stays."""
        path = self.path(name)
        try:
            if not os.path.islink(path) or os.readlink(path) != target:
                with self._temporary(path) as temporary:
                    os.symlink(target, temporary)
                    self._commit(temporary, path)
        except OSError as error:
            raise self._error(name, error) from error

    def make_folder(self, name: str) -> None:
        """Make a folder that need not hold anything; behind a URL there are none, and nothing is made."""
        path = self.path(name)
        if self.is_local:
            try:
                self._make_folder(path)
            except OSError as error:
                raise self._error(name, error) from error

    def takes_files(self) -> bool:
        """Return whether a place behind a URL takes files at all, by putting an empty one there and removing it."""
        return takes_files(self._storage)

    def flush(self) -> None:
        """Bring everything that was written onto the disk, so that it outlasts a power failure."""
        if self.is_local:
            os.sync()

    def tidy(self) -> None:
        """Remove what workers that died have left unfinished in a folder of this machine, when nobody writes there any more."""
        if self.is_local:
            remove_leftovers(self._storage.root)

    def _link_or_copy(self, source: str, temporary: str, how: HowToPlace) -> None:
        if self.is_local and how == "symlink":
            os.symlink(os.path.realpath(source), temporary)
            return
        if self.is_local and how == "hardlink":
            with contextlib.suppress(OSError):
                os.link(os.path.realpath(source), temporary)
                return
        # Copied without the rights and times of the source: those of a data set say nothing of its content.
        with opened(source) as old, open(temporary, "wb") as new:
            shutil.copyfileobj(old, new, _COPY_BYTES)

    @contextmanager
    def _temporary(self, path: str) -> Iterator[str]:
        """Yield a name that nothing else has, in the same folder where that can be; what is left there is removed."""
        if not self.is_local:
            with tempfile.TemporaryDirectory(prefix="clipsieve-") as folder:
                yield os.path.join(folder, "file")
            return
        self._make_folder(os.path.dirname(path))
        with temporary_beside(path, self._owner) as temporary:
            yield temporary

    def _make_folder(self, folder: str) -> None:
        """Make a folder below the root, unless a link that lies there would lead it elsewhere."""
        if folder not in self._folders_inside:
            root = os.path.realpath(self._storage.root)
            if os.path.commonpath([root, os.path.realpath(folder)]) != root:
                raise ExportError(
                    f"the link `{legible(os.fsencode(folder))}` leads out of `{self.url}`",
                    state="nothing was written behind it",
                    hint="remove the link, or name another place",
                )
        os.makedirs(folder, exist_ok=True)
        self._folders_inside.add(folder)

    def _commit(self, temporary: str, path: str) -> None:
        if self.is_local:
            os.replace(temporary, path)
            return
        try:
            put_whole(self._storage, temporary, path, self._owner)
        except Exception as error:
            raise self._error(path.removeprefix(self._storage.root.rstrip("/") + "/"), error) from error

    def _exists(self) -> bool:
        return bool(with_retries(lambda: self._storage.filesystem.exists(self._storage.root)))

    def _is_a_file(self) -> ExportError:
        return ExportError(f"`{self.url}` is a file", expected="a new or empty folder", state="nothing was written")

    def _error(self, name: str, error: Exception, verb: str = "write") -> ClipsieveError:
        if isinstance(error, SourceError) and isinstance(error.__cause__, Exception):
            error = error.__cause__  # what a source says of reading does not fit here
        if isinstance(error, ClipsieveError):
            return error
        room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if room and not self.is_local:
            return no_room()  # of the folder where files are kept on their way
        base = self.url if self.url.endswith("://") else self.url.rstrip("/") + "/"
        where = f"{base}{shown_name(name)}" if name else self.url
        return ExportError(
            f"cannot {verb} `{where}`: {words_of(error)}",
            state="every file that is there is whole",
            hint=("make room" if room else "mend the permissions, or name another place")
            + "; the same command again goes on from there",
        )
