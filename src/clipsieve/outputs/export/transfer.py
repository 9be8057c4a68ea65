"""One file of a folder is brought to its place: read, compared with what was scanned, and whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from clipsieve.errors import ExportError, SourceError
from clipsieve.outputs.export.base import HowToPlace
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.trees import Original, Tree
from clipsieve.sources.names import legible

__all__ = ["Job", "Transfer", "of_the_name"]

_CHUNK_BYTES = 1 << 20
# What a file system says of a name that it cannot hold, or of one that stands for a file and for a folder.
_NAMES = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ)


@dataclass(frozen=True, slots=True)
class Job:
    """A file, and where it goes.

    Attributes
    ----------
    name : str
        The path below the root of the source and, the same, of the place.
    n_bytes : int or None
        Where a listing has told it.
    sha256 : str or None
        Of its content when it was scanned; None where that is not known.
    place : Destination
        Where it goes.
    """

    name: str
    n_bytes: int | None
    sha256: str | None
    place: Destination


class Transfer:
    """Brings files of one source to their places; several threads may use it at once.

    Parameters
    ----------
    tree : Tree
        The source.
    how : {"copy", "hardlink", "symlink"}
        How a file of this machine comes to a place on it.
    hash_links : bool
        Whether the content behind links is compared too, which reads every file.
    """

    def __init__(self, tree: Tree, how: HowToPlace, *, hash_links: bool) -> None:
        self._tree = tree
        self._how = how
        self._hash_links = hash_links
        self._sizes: dict[str, dict[str, int | None]] = {}

    def prepare(self, place: Destination) -> None:
        """List a remote place, once, so that what is there already need not be asked for file by file."""
        if not place.is_local and place.url not in self._sizes:
            self._sizes[place.url] = place.sizes()

    def bring(self, job: Job) -> int | str:
        """Bring one file, unless it is there already.

        Returns
        -------
        int or str
            Its size in bytes, or why it could not be brought, in words.

        Raises
        ------
        SourceError
            If it is not what was scanned.
        ExportError
            If the place cannot be written.
        """
        if (refused := _refused(job)) is not None:
            return refused
        original = self._tree.find(job.name, job.n_bytes)
        if isinstance(original, str):
            return original
        if original.n_bytes is not None and self._is_there(job, original):
            return original.n_bytes
        try:
            return self._copy(job, original) if self._how_to(job) == "copy" else self._link(job, original)
        except ExportError as error:
            if (words := of_the_name(job.place, error)) is None:
                raise
            return words

    def _how_to(self, job: Job) -> HowToPlace:
        return self._how if self._tree.is_local and job.place.is_local else "copy"

    def _is_there(self, job: Job, original: Original) -> bool:
        if not job.place.is_local:
            return self._sizes[job.place.url].get(job.name) == original.n_bytes
        path, how = job.place.path(job.name), self._how_to(job)
        try:
            facts = os.lstat(path)
            if how == "symlink":
                return stat.S_ISLNK(facts.st_mode) and os.readlink(path) == original.path
        except OSError:
            return False
        if (facts.st_dev, facts.st_ino) == original.inode:
            return how == "hardlink"
        return stat.S_ISREG(facts.st_mode) and facts.st_size == original.n_bytes

    def _copy(self, job: Job, original: Original) -> int | str:
        file = self._tree.open(original)
        if isinstance(file, str):
            return file
        digest, n_bytes = hashlib.sha256(), 0
        try:
            with file, job.place.writer(job.name, is_flushed=False) as copy:
                for chunk in _chunks(file):
                    digest.update(chunk)
                    n_bytes += copy.write(chunk)
                _check(job, digest.hexdigest())
        except _UnreadableError as error:
            return str(error)
        return n_bytes

    def _link(self, job: Job, original: Original) -> int | str:
        if self._hash_links and job.sha256 is not None:
            file = self._tree.open(original)
            try:
                if isinstance(file, str):
                    return file
                _check(job, _digest(file))
            except _UnreadableError as error:
                return str(error)
        job.place.place(job.name, original.path, self._how)
        if self._how == "hardlink":
            self._check_copy(job, original)
        return original.n_bytes or 0

    @staticmethod
    def _check_copy(job: Job, original: Original) -> None:
        """Compare a file that became a copy, since no hard link could be made; the fingerprint of a link needs no more."""
        path = job.place.path(job.name)
        facts = os.lstat(path)
        if job.sha256 is None or (facts.st_dev, facts.st_ino) == original.inode:
            return
        try:
            _check(job, _digest(open(path, "rb")))  # noqa: SIM115 - closed there
        except SourceError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise


class _UnreadableError(Exception):
    """A file of the source broke off; apart from an OSError, which in a writer's block is one of the place."""


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise _UnreadableError(error.strerror or type(error).__name__) from error


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    with file:
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()


def _check(job: Job, digest: str) -> None:
    if job.sha256 is None or job.sha256 == digest:
        return
    name = legible(job.name.encode(errors="surrogateescape"))
    raise SourceError(
        f"`{name}` has changed since it was scanned",
        expected=f"sha256 {job.sha256}",
        found=f"sha256 {digest}",
        state="it was not written; every file that is there is whole",
        hint="scan again: only what changed is encoded anew; then score, and export to a new place",
    )


def _refused(job: Job) -> str | None:
    """Return why a place cannot have a file of that name, in words; None if it can."""
    try:
        job.place.path(job.name)
        if not job.place.is_local:
            job.name.encode()
    except ExportError:
        return "its name leads out of the place, or is none that a path can have"
    except UnicodeEncodeError:
        return "its name is no UTF-8, and the place takes nothing else"
    return None


def of_the_name(place: Destination, error: ExportError) -> str | None:
    """Return in words that the trouble is with one name and not with the whole place; None if it is not."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _NAMES and place.folder is not None and place.folder.is_dir():
        return f"the place cannot have a file of that name: {cause.strerror}"
    return None
