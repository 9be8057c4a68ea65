"""Files below one root, on this machine or behind a URL, through fsspec."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from clipsieve.errors import ClipsieveError, MissingExtraError, SourceError
from clipsieve.sources.local_file import read_failure, read_local_file, too_many_bytes
from clipsieve.sources.names import escape_name, legible
from clipsieve.sources.retry import ATTEMPTS, is_lasting, with_retries
from clipsieve.types import Failure, FailureCode

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Storage", "StoredFile", "explain", "is_url", "no_room", "short_names"]

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}
_CHUNK_BYTES = 1 << 20
# What tells one state of a file from another, in the words of the file systems that fsspec reaches.
_STAMPS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "updated", "sha", "oid")


def is_url(location: str) -> bool:
    """Return whether a location is a URL and not a path of this machine."""
    return "://" in location


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
    """

    path: str
    n_bytes: int | None
    stamp: str


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
            self._filesystem = _connect(self.location)[0]
        return self._filesystem

    def _root_of(self, location: str) -> str:
        self._filesystem, path = _connect(location)
        return path

    def find(self, path: str | None = None) -> list[StoredFile]:
        """List every file below a folder; SourceError if that cannot be done in full."""
        root = self.root if path is None else path
        found = self._listed(lambda: self.filesystem.find(root, detail=True), root)
        return [_stored(name, info) for name, info in found.items() if info.get("type") != "directory"]

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
                return {entry.name: entry.is_dir() for entry in entries}
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

    def url(self, path: str) -> str:
        """Return where a person or another tool finds a file."""
        if self.is_local:
            return "file://" + quote(os.fsencode(path))
        return str(self.filesystem.unstrip_protocol(path))

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
        if n_bytes is not None:
            return bytes(with_retries(lambda: self.filesystem.cat_file(path)))

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


def no_room() -> SourceError:
    """Return the error of a temporary folder that is full."""
    return SourceError(
        f"no room left in `{tempfile.gettempdir()}`, where remote and compressed files are kept while they are read",
        state="finished parts are kept",
        hint="make room, or set TMPDIR to a folder on a larger disk; the same command again goes on",
    )


def _connect(location: str) -> tuple[AbstractFileSystem, str]:
    import fsspec

    if not is_url(location):
        return fsspec.filesystem("file"), os.path.abspath(location)
    protocol = location.partition("://")[0]
    # Retries are this module's: those of a library below would multiply with them.
    settings: dict[str, Any] = {"use_listings_cache": False}  # the listing of today, in a long-lived process too
    if protocol in ("s3", "s3a"):
        settings["config_kwargs"] = {"retries": {"max_attempts": 0}}
    try:
        filesystem, path = fsspec.url_to_fs(location, **settings)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        raise MissingExtraError(
            f"`{protocol}://` needs a library that is not installed: {error}",
            hint=f"pip install 'clipsieve[{extra}]'" if extra else "install the library that it names",
        ) from error
    except Exception as error:
        raise SourceError(
            f"cannot open `{location}`: {explain(error).detail}",
            expected="a URL such as s3://bucket/folder, gs://..., https://...",
        ) from error
    return filesystem, str(path)


def _stored(path: str, info: dict[str, Any]) -> StoredFile:
    size = info.get("size")
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key) is not None), "")
    return StoredFile(path, size, f"{size} {stamp}")


def explain(error: Exception) -> Failure:
    """Return which code of the closed list a storage's exception means, with its words on one line."""
    words = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return read_failure(FailureCode.NOT_FOUND, "listed or named, but not there when it was read")
    if isinstance(error, PermissionError):
        return read_failure(FailureCode.NOT_PERMITTED, words)
    tried = "" if is_lasting(error) else f", {ATTEMPTS} times"
    return read_failure(FailureCode.READ_ERROR, f"{type(error).__name__}{tried}: {words}")


def short_names(files: Sequence[StoredFile]) -> dict[str, str]:
    """Return a name for each path: what it is called below the folder that all share."""
    paths = [file.path for file in files]
    folders = [path.split("/")[:-1] for path in paths]
    n_shared = 0
    while all(len(folder) > n_shared and folder[n_shared] == folders[0][n_shared] for folder in folders):
        n_shared += 1
    return {path: escape_name("/".join(path.split("/")[n_shared:]).encode(errors="surrogateescape")) for path in paths}
