"""Files below one root, on this machine or behind a URL, through fsspec."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from clipsieve.errors import ClipsieveError, SourceError
from clipsieve.remote.connect import connect, explain, is_url, no_room, public_url
from clipsieve.remote.retry import with_retries
from clipsieve.sources.ahead import fetch_ahead
from clipsieve.sources.local_file import read_local_file, too_many_bytes
from clipsieve.sources.names import legible
from clipsieve.types import Failure

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Storage", "StoredFile"]

_CHUNK_BYTES = 1 << 20
# What tells one state of a file from another, in the words of the file systems that fsspec reaches.
_STAMPS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "generation", "sha", "oid", "mtime")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated")
# File systems that list a folder in one go; the others walk it, and must not pass over what they cannot list.
_LIST_WHOLE = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing.

    Attributes
    ----------
    path : str
        As the storage takes it; a local name's byte that is no UTF-8 as Python's surrogate.
    n_bytes : int or None
        None where the server does not say.
    stamp : str
        What changes when the file does: size, and time or hash.
    name : str
        What it is called in ids: its path below the place that was named, `%` and bytes that are no UTF-8 as `%XX`.
    """

    path: str
    n_bytes: int | None
    stamp: str
    name: str = ""


class Storage:
    """Reads files of one file system; passing troubles are met by trying again.

    Parameters
    ----------
    location : str
        A path, or a URL that fsspec knows; settings such as endpoints and credentials come from where fsspec and the
        libraries behind it look for them.
    """

    def __init__(self, location: str) -> None:
        self.is_local = not is_url(location)
        self.location = location
        self._filesystem: AbstractFileSystem | None = None
        self.root = os.path.abspath(location) if self.is_local else self._root_of(location)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_filesystem": None}

    @property
    def filesystem(self) -> AbstractFileSystem:
        """The file system behind it, made when it is first needed."""
        if self._filesystem is None:
            self._filesystem = connect(self.location)[0]
        return self._filesystem

    def _root_of(self, location: str) -> str:
        self._filesystem, path = connect(location)
        return path

    def find(self, path: str | None = None) -> list[StoredFile]:
        """List every file below a folder; SourceError if that cannot be done in full."""
        root = self.root if path is None else path
        if self.is_local:
            return list(_walk_local(root))
        walked = {} if self._protocol in _LIST_WHOLE else {"on_error": "raise"}
        found = self._listed(lambda: self.filesystem.find(root, detail=True, **walked), root)
        files = [_stored(name, info) for name, info in found.items() if info.get("type") != "directory"]
        return [each for _, each in fetch_ahead(files, self._with_stamp)]

    def _with_stamp(self, file: StoredFile) -> StoredFile:
        """Return a file with what a listing did not tell of it, for a request of its own."""
        if file.n_bytes is not None:
            return file
        with contextlib.suppress(SourceError):
            return self.info(file.path) or file
        return file  # it fails when it is read

    def glob(self, pattern: str) -> list[StoredFile]:
        """List the files that a pattern with `*`, `?` or `[...]` names."""
        found = self._listed(lambda: self.filesystem.glob(pattern, detail=True), pattern)
        return [_stored(name, info) for name, info in found.items() if info.get("type") != "directory"]

    def names(self, path: str | None = None) -> dict[str, bool]:
        """Return what lies directly in a folder: names, and whether each is a folder."""
        root = self.root if path is None else path
        if self.is_local:
            return self._local_names(root)
        entries = self._listed(lambda: self.filesystem.ls(root, detail=True), root)
        own = root.rstrip("/")
        found = {entry["name"].rstrip("/"): entry.get("type") == "directory" for entry in entries}
        return {name.rpartition("/")[2]: is_folder for name, is_folder in found.items() if name != own}

    @staticmethod
    def _local_names(folder: str) -> dict[str, bool]:
        try:
            with os.scandir(folder) as entries:
                return {entry.name: _holds(entry.is_dir) for entry in entries}
        except OSError as error:
            where = legible(os.fsencode(folder))
            raise SourceError(f"cannot list the folder `{where}`: {error.strerror}", hint="make it readable") from error

    def info(self, path: str) -> StoredFile | None:
        """Return the facts of one file; None if there is no such file."""
        try:
            info = with_retries(lambda: self.filesystem.info(path))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.error(path, error) from error
        return None if info.get("type") == "directory" else _stored(path, info)

    def is_folder(self, path: str) -> bool:
        """Return whether a folder lies there."""
        return bool(self._listed(lambda: self.filesystem.isdir(path), path))

    def path_of(self, location: str) -> str:
        """Return a location of this file system as it takes it."""
        return os.path.abspath(location) if self.is_local else str(self.filesystem._strip_protocol(location))  # noqa: SLF001

    @property
    def _protocol(self) -> str:
        return self.location.partition("://")[0].lower()

    def url(self, path: str) -> str:
        """Return where a person or another tool finds a file, without passwords and signatures."""
        if self.is_local:
            return "file://" + quote(os.fsencode(path))
        return public_url(str(self.filesystem.unstrip_protocol(path)))

    def read(self, path: str, max_bytes: int, *, n_bytes: int | None = None) -> bytes | Failure:
        """Return the content of one file, or why there is none; `n_bytes` is its size, where a listing has told it."""
        if self.is_local:
            return read_local_file(os.fsencode(path), max_bytes)
        try:
            if n_bytes is None and not self.location.startswith("http"):
                n_bytes = with_retries(lambda: self.filesystem.info(path)).get("size")
            if n_bytes is not None and n_bytes > max_bytes:
                return too_many_bytes(n_bytes, max_bytes)
            return self._read(path, max_bytes, n_bytes)
        except Exception as error:  # noqa: BLE001 - each service raises its own; each input must end as one row
            return explain(error)

    def _read(self, path: str, max_bytes: int, n_bytes: int | None) -> bytes | Failure:
        if n_bytes == 0:
            return b""
        if n_bytes is not None:
            # One byte more than is allowed: it may have grown since it was listed.
            content = bytes(with_retries(lambda: self.filesystem.cat_file(path, start=0, end=max_bytes + 1)))
            return content if len(content) <= max_bytes else too_many_bytes(len(content), max_bytes)

        def stream() -> bytes:
            found = bytearray()
            # Of unknown length: never more than allowed. A size, whatever it is, saves a request for it.
            with self.filesystem.open(path, "rb", block_size=0, size=1) as file:
                while len(found) <= max_bytes and (chunk := file.read(_CHUNK_BYTES)):
                    found += chunk
            return bytes(found)

        content = with_retries(stream)
        return content if len(content) <= max_bytes else too_many_bytes(len(content), max_bytes)

    @contextmanager
    def reader(self, path: str) -> Iterator[BinaryIO]:
        """Open a file for a few reads here and there, such as those of its footer."""
        with with_retries(lambda: self.filesystem.open(path, "rb")) as file:
            yield file

    def open_whole(self, path: str) -> BinaryIO:
        """Open a file of this machine, or fetch one to it; what was fetched is gone from the disk once it is closed."""
        if self.is_local:
            file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
            raise OSError(errno.EINVAL, "not a regular file")
        with tempfile.TemporaryDirectory(prefix="clipsieve-") as folder:
            copy = os.path.join(folder, "copy")
            try:
                with_retries(lambda: self.filesystem.get_file(path, copy))
                return open(copy, "rb")
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise no_room() from error
                raise

    def _listed(self, call: Any, path: str) -> Any:  # noqa: ANN401
        try:
            return with_retries(call)
        except Exception as error:
            raise self.error(path, error, "list") from error

    def error(self, path: str, error: Exception, verb: str = "open") -> ClipsieveError:
        """Return the error of a place that cannot be listed or opened at all."""
        where = legible(os.fsencode(path)) if self.is_local else self.url(path)
        if isinstance(error, ClipsieveError):
            return error
        if isinstance(error, FileNotFoundError):
            return SourceError(f"there is nothing at `{where}`", hint="check the spelling")
        return SourceError(
            f"cannot {verb} `{where}`: {explain(error).detail}",
            state="nothing was read: a listing with a hole in it would lose images in silence"
            if verb == "list"
            else None,
            hint="check that the place can be reached and that you may read it",
        )


def _walk_local(root: str) -> Iterator[StoredFile]:
    """Yield every regular file below a folder, through no link to a folder; SourceError where one cannot be listed."""
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            where = legible(os.fsencode(folder))
            raise SourceError(
                f"cannot list the folder `{where}`: {error.strerror}",
                state="nothing was read: a listing with a hole in it would lose images in silence",
                hint="make the folder readable, or scan the folders that are",
            ) from error
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif _holds(entry.is_file):
                facts = entry.stat()
                yield StoredFile(entry.path, facts.st_size, f"{facts.st_size} {facts.st_mtime_ns}")


def _holds(question: Callable[[], bool]) -> bool:
    """Return what an entry says of itself; links in a circle lead nowhere, as those to what is gone."""
    try:
        return question()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _stored(path: str, info: dict[str, Any]) -> StoredFile:
    size = info.get("size")
    stamp = next((str(info[key]) for key in (*_STAMPS, *_TIMES) if info.get(key) is not None), "")
    return StoredFile(path, size, f"{size} {stamp}")
