"""One file of a folder is brought to its place: read, compared with what was scanned, and whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, TypeVar

from clipsieve.errors import ExportError, SourceError
from clipsieve.outputs.export.base import HowToPlace
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.place_errors import words_of
from clipsieve.outputs.export.trees import Original, Tree
from clipsieve.sources.names import legible
from clipsieve.sources.signatures import N_SIGNATURE_BYTES, may_be_an_image

__all__ = ["Job", "Transfer", "of_the_name"]

T = TypeVar("T")

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
    is_scanned : bool
        Whether it is an input; anything else is not brought if it begins like an image.
    """

    name: str
    n_bytes: int | None
    sha256: str | None
    place: Destination
    is_scanned: bool = True


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
            If it is not what was scanned, or can no longer be read.
        ExportError
            If the place cannot be written.
        """
        if (refused := _refused(job)) is not None:
            return refused
        try:
            return self._bring(job)
        except _UnreadableError as error:
            if job.sha256 is not None:
                raise _changed(job, str(error)) from error
            return str(error)

    def _bring(self, job: Job) -> int | str:
        try:
            return self._bring_once(job)
        except ExportError as error:
            if (words := of_the_name(job.place, error)) is None:
                raise
        if not job.place.is_local:  # it takes others, and by now perhaps this one
            with contextlib.suppress(ExportError):
                return self._bring_once(job)
        return words

    def _bring_once(self, job: Job) -> int:
        original = _read(self._tree.find(job.name, job.n_bytes))
        if original.n_bytes is not None and self._is_there(job, original):
            return original.n_bytes
        return self._copy(job, original) if self._how_to(job) == "copy" else self._link(job, original)

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

    def _copy(self, job: Job, original: Original) -> int:
        file = _read(self._tree.open(original))
        digest, n_bytes = hashlib.sha256(), 0
        with file:
            first = next(_chunks(file), b"")
            _look(job, first)  # before a folder is made for it
            with job.place.writer(job.name, is_flushed=False) as copy:
                for chunk in chain([first], _chunks(file)):
                    digest.update(chunk)
                    n_bytes += copy.write(chunk)
                _check(job, digest.hexdigest())
        return n_bytes

    def _link(self, job: Job, original: Original) -> int:
        if not job.is_scanned:
            with _read(self._tree.open(original)) as file:
                _look(job, next(_chunks(file, N_SIGNATURE_BYTES), b""))
        if self._hash_links and job.sha256 is not None:
            _check(job, _digest(_read(self._tree.open(original))))
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
    """A file of the source cannot be brought; apart from an OSError, which in a writer's block is one of the place."""


def _read(found: T | str) -> T:
    """Return what a tree has found; raise what it says where it found nothing."""
    if isinstance(found, str):
        raise _UnreadableError(found)
    return found


def _look(job: Job, head: bytes) -> None:
    """Refuse what was never scanned and begins like an image."""
    if not job.is_scanned and may_be_an_image(head[:N_SIGNATURE_BYTES]):
        raise _UnreadableError("it begins like an image, and was not scanned")


def _chunks(file: BinaryIO, n_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
    try:
        while chunk := file.read(n_bytes):
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
    if job.sha256 is not None and job.sha256 != digest:
        raise _changed(job, f"sha256 {digest}")


def _changed(job: Job, found: str) -> SourceError:
    name = legible(job.name.encode(errors="surrogateescape"))
    return SourceError(
        f"`{name}` has changed since it was scanned, or cannot be read any more",
        expected=f"sha256 {job.sha256}",
        found=found,
        state="it was not written; every file that is there is whole",
        hint="scan again: only what changed is encoded anew; then score, and export to a new place",
    )


def _refused(job: Job) -> str | None:
    """Return why a place cannot have a file of that name, in words; None if it can."""
    if not job.place.is_local and any("\ud800" <= letter <= "\udfff" for letter in job.name):
        return "its name is no UTF-8, and the place takes nothing else"
    try:
        job.place.path(job.name)
    except ExportError:
        return "its name leads out of the place, or is none that a path can have"
    return None


def of_the_name(place: Destination, error: ExportError) -> str | None:
    """Return in words that the trouble is with one name and not with the whole place; None if it is not."""
    cause = error.__cause__
    if cause is not None and not place.is_local and place.takes_files():
        return f"the place takes other files, and not this one: {words_of(cause)}"
    if isinstance(cause, OSError) and cause.errno in _NAMES and place.folder is not None and place.folder.is_dir():
        return f"the place cannot have a file of that name: {cause.strerror}"
    return None
