"""The cells of a table's images: checked against their hashes, and the files that they name brought along."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from clipsieve.errors import SourceError
from clipsieve.outputs.export.base import HowToPlace, Places, Unit
from clipsieve.outputs.export.destination import Destination
from clipsieve.remote.connect import is_url
from clipsieve.sources.names import legible

__all__ = ["CellCheck", "NamedFiles", "changed_table"]

_CHUNK_BYTES = 1 << 20


class NamedFiles:
    """Brings files to where a table lies that names them by a path below its own folder.

    Parameters
    ----------
    folder : str
        Where the table lies, on this machine.
    prefix : str
        The name of that folder in a place, "" or with a `/` at its end.
    tables : collection of str
        Real paths of the source's tables: a table that names one as an image would bring along what was removed from it.
    how : {"copy", "hardlink", "symlink"}
        As for `Destination.place`.

    Attributes
    ----------
    n_files, n_bytes : int
        Files that were brought, those that were there already included, and their size.
    """

    def __init__(self, folder: str, prefix: str, tables: Collection[str], how: HowToPlace) -> None:
        self._folder = folder
        self._prefix = prefix
        self._tables = tables
        self._how = how
        self._seen: set[tuple[str, str]] = set()
        self.n_files = 0
        self.n_bytes = 0

    def bring(self, place: Destination, cell: str, expected: str | None) -> str | None:
        """Bring the file that a cell names, if it is one below the table's folder; return why that cannot be done, in words.

        Raises
        ------
        SourceError
            If its sha256 is not the expected one, or it was read when it was scanned and cannot be read any more.
        ExportError
            If the place cannot be written.
        """
        below = _below(cell)
        if below is None:
            return None
        shown = f"`{legible(cell.encode(errors='surrogateescape'))}`"
        path = os.path.join(self._folder, cell)
        try:
            facts = os.stat(path)
            if not stat.S_ISREG(facts.st_mode):
                raise _UnreadableError("is not a regular file")
            if os.path.realpath(path) in self._tables:
                return f"{shown} is a table of this source, and is no image of it"
            name = self._prefix + below
            if place.size(name) != facts.st_size:
                self._bring(place, name, path, expected)
        except (OSError, ValueError, _UnreadableError) as error:
            words = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            if expected is not None:  # it could be read when it was scanned
                raise changed_table(f"`{legible(os.fsencode(path))}`", f"sha256 {expected}", words) from error
            return f"{shown} {words}"
        self._count(place, name, facts.st_size)
        return None

    def _bring(self, place: Destination, name: str, path: str, expected: str | None) -> None:
        """Copy a file, reading it once, or link it; SourceError if it is not the one that was scanned."""
        if place.is_local and self._how != "copy":
            with open(path, "rb") as file:
                _check(path, hashlib.file_digest(file, "sha256").hexdigest(), expected)
            place.place(name, path, self._how)
            return
        digest = hashlib.sha256()
        with open(path, "rb") as file, place.writer(name, is_flushed=False) as copy:
            for chunk in _chunks(file):
                digest.update(chunk)
                copy.write(chunk)
            _check(path, digest.hexdigest(), expected)

    def _count(self, place: Destination, name: str, n_bytes: int) -> None:
        if (place.url, name) not in self._seen:
            self._seen.add((place.url, name))
            self.n_files += 1
            self.n_bytes += n_bytes


def _below(cell: str) -> str | None:
    """Return the path below a table's folder that a cell names; None for a URL, and for a path that may lead out."""
    pieces = [piece for piece in cell.split("/") if piece not in ("", ".")]
    if not cell.strip() or is_url(cell) or cell.startswith("/") or ".." in pieces or not pieces:
        return None
    return "/".join(pieces)


class _UnreadableError(Exception):
    """A file cannot be read, in words; apart from an OSError, which in a writer's block is one of the place."""


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise _UnreadableError(f"cannot be read: {error.strerror or type(error).__name__}") from error


def _check(path: str, found: str, expected: str | None) -> None:
    """Raise SourceError if a file is not the one that was scanned."""
    if expected is not None and found != expected:
        raise changed_table(f"`{legible(os.fsencode(path))}`", f"sha256 {expected}", f"sha256 {found}")


class CellCheck:
    """Looks at the image of each row that goes to a place.

    Parameters
    ----------
    unit : Unit
        A table.
    places : mapping of Decision to Destination
        Where its rows go.
    files : NamedFiles or None
        None leaves files where they are.

    Attributes
    ----------
    goes_somewhere : bool array of shape (n,)
        Whether a row has a place.
    is_unread : bool array of shape (n,)
        Whether it has one, but its image could not be read when it was scanned.
    problems : dict of int to str
        As in `Written`.
    lost : set of int
        Rows with a place that cannot be read, and stand nowhere.
    """

    def __init__(self, unit: Unit, places: Places, files: NamedFiles | None) -> None:
        self.unit = unit
        self.files = files
        self._places = {int(decision): place for decision, place in places.items()}
        self.goes_somewhere: Bool[np.ndarray, "n"] = np.isin(unit.codes, list(self._places))
        unread = np.fromiter((digest is None for digest in unit.sha256), dtype=bool, count=len(unit.sha256))
        self.is_unread: Bool[np.ndarray, "n"] = self.goes_somewhere & unread
        self.problems: dict[int, str] = {}
        self.lost: set[int] = set()

    def see(self, row: int, content: pa.Buffer | None, path: str | None) -> None:
        """Take in the image of a row that has a place: its bytes, or else the path that stands for them.

        Raises
        ------
        SourceError
            If it is not the one that was scanned.
        ExportError
            If a place cannot be written.
        """
        expected = self.unit.sha256[row]
        if content is not None:
            found = hashlib.sha256(content).hexdigest() if expected is not None else None
            if found != expected:
                raise changed_table(self.row_name(row), f"sha256 {expected}", f"sha256 {found}")
        elif path is not None and self.files is not None:
            problem = self.files.bring(self._places[int(self.unit.codes[row])], path, expected)
            if problem is not None:
                self.problems[row] = f"the row is there, its file is not: {problem}"

    def lose(self, start: int, stop: int, why: str) -> None:
        """Tell of rows that cannot be read; SourceError if they could be when they were scanned."""
        for row in np.flatnonzero(self.goes_somewhere[start:stop]).tolist():
            if self.unit.sha256[start + row] is not None:
                raise changed_table(self.row_name(start + row), "a row that can be read", why)
            self.problems[start + row] = why
            self.lost.add(start + row)

    def row_name(self, row: int) -> str:
        """Return what a row is called in messages."""
        return f"row {row:,} of `{legible(self.unit.name)}`"


def changed_table(what: str, expected: str, found: str) -> SourceError:
    """Return the error of a table that is not what it was."""
    return SourceError(
        f"{what} has changed since it was scanned, or cannot be read any more",
        expected=expected,
        found=found,
        state="nothing of this table was written; files that are there are whole",
        hint="scan it again: only what changed is encoded anew; then score, and export again",
    )
