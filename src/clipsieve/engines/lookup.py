"""The file of one image of a run, found again in the source by the image's id: no more is listed or opened than that takes."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from clipsieve.remote.connect import is_url
from clipsieve.sources import FolderSource, HuggingFaceSource, RemoteFolderSource, Source, TableSource, WebDatasetSource
from clipsieve.sources.local_file import read_failure
from clipsieve.store.layout import valid_text
from clipsieve.types import Failure, FailureCode, Shard

__all__ = ["Lookup", "Place", "lookup_in"]

N_OPEN = 8  # files with many images that stay open, each with an index of its images
N_COPIED = 2  # of those that are fetched or unpacked to the temporary folder first: each may be gigabytes
_PACKED = (".gz", ".tgz")

S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class Place:
    """One image of a run, and what it was when it was scanned.

    Attributes
    ----------
    part, row : int
        Where it stands in the run, from 0.
    image_id : str
        As in the run.
    sha256 : str
        Hex digest of its file at that time.
    """

    part: int
    row: int
    image_id: str
    sha256: str


class Lookup(ABC):
    """Finds images in one source; any thread may ask."""

    @abstractmethod
    def read(self, place: Place) -> bytes | Failure:
        """Return the encoded file that has the image's name today, or why there is none.

        Whether it is still what was scanned is for the caller to check.

        Raises
        ------
        ClipsieveError
            If the source as a whole cannot be read any more.
        """


def lookup_in(source: Source, part_size: int) -> Lookup:
    """Return what finds single images in a source; `part_size` is that of the run."""
    if isinstance(source, FolderSource):
        return _InFolder(source)
    if isinstance(source, RemoteFolderSource):
        return _InRemoteFolder(source)
    if isinstance(source, WebDatasetSource):
        return _InTars(source)
    if isinstance(source, TableSource | HuggingFaceSource):
        return _InRows(source, part_size)
    raise NotImplementedError(f"no lookup in a {type(source).__name__}")


class _InFolder(Lookup):
    """In a folder the id is the path: one file is opened, however many lie beside it."""

    def __init__(self, source: FolderSource) -> None:
        self._source = source

    def read(self, place: Place) -> bytes | Failure:
        """Read one file; see `Lookup.read`."""
        (ref,) = self._source.read(Shard(place.part, (place.image_id,), "", 1))
        return ref.content


class _InRemoteFolder(Lookup):
    """As in a folder; a name that leads out of it is not asked for."""

    def __init__(self, source: RemoteFolderSource) -> None:
        self._source = source

    def read(self, place: Place) -> bytes | Failure:
        """Fetch one file; see `Lookup.read`."""
        name = unquote_to_bytes(place.image_id).decode(errors="replace")
        if not name or ".." in name.split("/"):
            return _gone()
        return self._source.storage.read(self._source.path(name), self._source.max_bytes)


class _InTars(Lookup):
    """In tars the id begins with the tar's name; its headers are read once, and of its images those that are asked for."""

    def __init__(self, source: WebDatasetSource) -> None:
        self._tars = frozenset(source.tars)
        is_packed = any(name.lower().endswith(_PACKED) for name in source.tars)
        self._copies = _Copies(source, N_COPIED if is_packed or is_url(source.location) else N_OPEN)

    def read(self, place: Place) -> bytes | Failure:
        """Read one member of a tar; see `Lookup.read`."""
        name = self._tar_of(place.image_id)
        if name is None:
            return _gone()
        with self._copies.of_file(name) as source:
            tar = source.open_tar(name)
            if place.image_id not in tar.ids:
                return read_failure(tar.index.damage.code, tar.index.damage.detail) if tar.index.damage else _gone()
            at = tar.ids.index(place.image_id)
            return _content(source, Shard(place.part, (name, str(at), str(at + 1), str(tar.index.n_rows), ""), "", 1))

    def _tar_of(self, image_id: str) -> str | None:
        """Return the tar whose name, and a slash, an id begins with."""
        pieces = image_id.split("/")
        names = ("/".join(pieces[:n]) for n in range(1, len(pieces)))
        return next((name for name in names if name in self._tars), None)


class _InRows(Lookup):
    """In tables and data sets the id tells file and row, unless a column holds it: then the place in the run does."""

    def __init__(self, source: TableSource | HuggingFaceSource, part_size: int) -> None:
        is_table = isinstance(source, TableSource)
        self._files = frozenset(source.tables if isinstance(source, TableSource) else source.splits)
        # A data set of Hugging Face is mapped into memory once; a table's file is opened by each that reads it.
        n_copies = 1 if not is_table else N_COPIED if is_url(source.location) else N_OPEN
        self._copies = _Copies(source, n_copies)
        self._source = source
        self._part_size = part_size
        self._planning = threading.Lock()
        self._shards: tuple[Shard, ...] | None = None

    def read(self, place: Place) -> bytes | Failure:
        """Read one row; see `Lookup.read`."""
        shard = self._shard_of_id(place) if self._source.columns.id is None else self._shard_of_place(place)
        if shard is None:
            return _gone()
        with self._copies.of_file(shard.members[0]) as source:
            return _content(source, shard, place.image_id)

    def _shard_of_id(self, place: Place) -> Shard | None:
        name, _, number = place.image_id.rpartition(":")
        if name not in self._files or not (number.isascii() and number.isdecimal() and len(number) < 19):
            return None
        # No count of rows: that the file has no more of them than when it was listed does not matter here.
        return Shard(place.part, (name, number, str(int(number) + 1), "-1", ""), "", 1)

    def _shard_of_place(self, place: Place) -> Shard | None:
        with self._planning:  # once, and not before it is needed: all ids are read for it
            if self._shards is None:
                self._shards = self._source.plan(self._part_size).shards
        shard = self._shards[place.part] if place.part < len(self._shards) else None
        return self._source.one(shard, place.row) if shard and place.row < shard.n_images else None


def _content(source: Source, shard: Shard, image_id: str | None = None) -> bytes | Failure:
    """Return the one image of a shard, provided that it goes by the right name."""
    found = [ref for ref in source.read(shard) if image_id is None or valid_text(ref.image_id) == image_id]
    return found[0].content if found else _gone()


def _gone() -> Failure:
    return read_failure(FailureCode.NOT_FOUND, "the source no longer has it")


@dataclass(slots=True)
class _Copy(Generic[S]):
    source: S
    busy: threading.Lock = field(default_factory=threading.Lock)


class _Copies(Generic[S]):
    """Copies of a source that holds a file open between reads: each is used by one thread at a time.

    Parameters
    ----------
    source : Source
        Itself never read.
    most : int
        How many copies there may be, >= 1.
    """

    def __init__(self, source: S, most: int) -> None:
        self._source = source
        self._most = most
        self._lock = threading.Lock()
        self._by_file: OrderedDict[str, _Copy[S]] = OrderedDict()  # the one that was asked for last comes last

    @contextmanager
    def of_file(self, name: str) -> Iterator[S]:
        """Give the copy that has a file open already, or else the one that was not needed for the longest time."""
        chosen = self._choose(name)
        # Meanwhile it may have been given away for another file: then it opens this one again, and all is well.
        with chosen.busy:
            yield chosen.source

    def _choose(self, name: str) -> _Copy[S]:
        with self._lock:
            chosen = self._by_file.pop(name, None)
            if chosen is None and len(self._by_file) < self._most:
                chosen = _Copy(copy.deepcopy(self._source))
            if chosen is None:
                idle = (file for file, each in self._by_file.items() if not each.busy.locked())
                chosen = self._by_file.pop(next(idle, next(iter(self._by_file))))
            self._by_file[name] = chosen
            return chosen
