"""What a tar holds and where: images, and the texts that belong to them by key.

Keys and extensions as in WebDataset: the key is the path up to the first dot of its last piece, so `a/000.jpg`, `a/000.txt` and
`a/000.seg.png` belong together. Nothing is unpacked; what tarfile may read is bounded, and it may only go forward.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from clipsieve.sources.names import is_hidden
from clipsieve.sources.signatures import is_image_name
from clipsieve.types import FailureCode

__all__ = ["COMPANIONS", "Damage", "Extent", "TarImage", "TarIndex", "index_tar", "split_key"]

COMPANIONS = ("txt", "json", "cls")
MAX_HEADER_BYTES = 1024**2  # of one extended header; a longer one is an attack on memory
MAX_GLOBAL_RECORDS = 64  # they hold for every later member, and are gone through for each
_BLOCK_BYTES = 512
_RECORD = re.compile(rb"(\d{1,7}) [^=]{1,1024}=")
_LONG_NUMBER = re.compile(rb"\d{256}")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where some bytes lie in a tar."""

    start: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class TarImage:
    """One image of a tar: its name there, where it lies, and where each of its companions does."""

    name: str
    extent: Extent
    companions: dict[str, Extent]


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a tar stops making sense, and in what way."""

    offset: int
    code: FailureCode
    detail: str


@dataclass(slots=True)
class TarIndex:
    """Everything that a tar holds.

    Attributes
    ----------
    images : list of TarImage
        In the order of the tar.
    n_ignored : int
        Members that are neither images nor companions of one.
    damage : Damage or None
        Why there may have been more.
    """

    images: list[TarImage] = field(default_factory=list)
    n_ignored: int = 0
    damage: Damage | None = None

    @property
    def n_rows(self) -> int:
        """One for each image, and one for what was lost."""
        return len(self.images) + (self.damage is not None)


def split_key(name: str) -> tuple[str, str]:
    """Return the key and the extension of a member.

    >>> split_key("train/0001.seg.PNG")
    ('train/0001', 'seg.png')
    """
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return f"{folder}{slash}{key}", extension.lower()


def index_tar(file: BinaryIO) -> TarIndex:
    """Read a tar's headers, from a seekable file.

    Returns
    -------
    TarIndex
        Whatever the file holds; a tar that is cut or damaged gives what is whole before that point, and the damage.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    index, members = TarIndex(), _Members()
    try:
        for member in _walk(file, n_bytes):
            members.add(member)
    except _Broken as broken:
        index.damage = broken.damage
    members.fill(index)
    return index


class _Members:
    """Collects members, and joins them by key once all are known."""

    def __init__(self) -> None:
        self._extents: dict[str, Extent] = {}  # of every regular file, for the links between them
        self._images: list[tuple[str, Extent]] = []
        self._by_key: dict[str, list[tuple[str, Extent]]] = {}  # extensions with places, in the order of the tar
        self._n_others = 0

    def add(self, member: tarfile.TarInfo) -> None:
        if member.isdir():
            return
        extent = self._extent(member)
        if extent is not None:
            self._extents[member.name] = extent
        if extent is None or is_hidden(member.name):
            self._n_others += 1
            return
        key, extension = split_key(member.name)
        is_image = is_image_name(member.name)
        if is_image:
            self._images.append((member.name, extent))
        if is_image or extension in COMPANIONS:
            self._by_key.setdefault(key, []).append((extension, extent))
        else:
            self._n_others += 1

    def _extent(self, member: tarfile.TarInfo) -> Extent | None:
        if member.islnk():  # a second name of an earlier member, as GNU tar writes hard links
            return self._extents.get(member.linkname)
        return Extent(member.offset_data, member.size) if member.isreg() and not member.issparse() else None

    def fill(self, index: TarIndex) -> None:
        companions: dict[tuple[str, Extent], dict[str, Extent]] = {}
        n_lonely = 0
        for key, members in self._by_key.items():
            for sample in _samples(members):
                texts = {extension: extent for extension, extent in sample if extension in COMPANIONS}
                pictures = [extent for extension, extent in sample if extension not in COMPANIONS]
                companions |= {(key, extent): texts for extent in pictures}
                n_lonely += 0 if pictures else len(texts)
        for name, extent in self._images:
            index.images.append(TarImage(name, extent, companions.get((split_key(name)[0], extent), {})))
        index.n_ignored = self._n_others + n_lonely


def _samples(members: list[tuple[str, Extent]]) -> list[list[tuple[str, Extent]]]:
    """Return the samples that share a key, as when tars whose keys begin anew were joined.

    A member whose extension was there before begins the next sample. Where that gives samples of different extensions, nobody
    can tell which text belongs to which image, and each member stands alone.
    """
    samples: list[list[tuple[str, Extent]]] = [[]]
    for member in members:
        if any(member[0] == extension for extension, _ in samples[-1]):
            samples.append([])
        samples[-1].append(member)
    kinds = {frozenset(extension for extension, _ in sample) for sample in samples}
    return samples if len(kinds) == 1 else [[member] for member in members]


class _Broken(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, offset: int, code: FailureCode, detail: str) -> None:
        super().__init__(detail)
        self.damage = Damage(offset, code, detail)


def _walk(file: BinaryIO, n_bytes: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members that are there in full; `_Broken` where that ends too early."""
    if n_bytes == 0:
        raise _Broken(0, FailureCode.EMPTY_FILE, "0 bytes")
    forward, end, tar = _Forward(file), 0, None
    while True:
        forward.begin_member()
        try:
            if tar is None:
                tar = tarfile.TarFile(fileobj=forward, mode="r", tarinfo=_Member, errorlevel=2)  # type: ignore[arg-type]
            member = tar.next()
        except Exception as error:
            raise _unreadable(end, n_bytes) from error
        if member is None:
            return _check_end(file, end, n_bytes)
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member otherwise
        n_data_bytes = member.size if member.isreg() else 0
        if member.offset < end or n_data_bytes < 0 or tar.offset < member.offset_data:
            raise _Broken(end, FailureCode.CORRUPT, f"a member at byte {end:,} has an impossible size or place")
        if member.offset_data + n_data_bytes > n_bytes:
            name = member.name.encode(errors="backslashreplace").decode()
            detail = f"the tar ends at byte {n_bytes:,}, within `{name}`, which begins at byte {member.offset:,}"
            raise _Broken(member.offset, FailureCode.TRUNCATED, detail)
        if len(tar.pax_headers) > MAX_GLOBAL_RECORDS:
            raise _Broken(end, FailureCode.CORRUPT, f"too many records for all members before byte {tar.offset:,}")
        end = tar.offset
        yield member


def _unreadable(end: int, n_bytes: int) -> _Broken:
    """Return what is wrong where the next member should begin."""
    if end + _BLOCK_BYTES > n_bytes:
        detail = f"the tar ends at byte {n_bytes:,}, without an end mark: it was cut there"
        return _Broken(min(end, n_bytes), FailureCode.TRUNCATED, detail)
    return _Broken(end, FailureCode.CORRUPT, f"no readable member at byte {end:,} of {n_bytes:,}")


def _check_end(file: BinaryIO, end: int, n_bytes: int) -> None:
    """Make sure that the tar ends as it should: with blocks of zeros, and nothing behind them."""
    file.seek(end)
    block = file.read(_BLOCK_BYTES)
    if len(block) < _BLOCK_BYTES or block.count(0) != len(block):
        raise _unreadable(end, n_bytes)
    while chunk := file.read(1 << 20):
        if chunk.count(0) != len(chunk):
            detail = f"more data after the end mark at byte {end:,}; were two tars joined?"
            raise _Broken(end, FailureCode.CORRUPT, detail)


class _Forward:
    """A file as tarfile sees it: no large read, and no way back, so that a forged header cannot make it loop."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._furthest = 0
        self._n_left = 0

    def begin_member(self) -> None:
        self._n_left = 4 * MAX_HEADER_BYTES

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        if position < self._furthest - _BLOCK_BYTES:
            raise tarfile.ReadError("a header leads backwards")
        self._furthest = max(self._furthest, position)
        return self._file.seek(position)

    def read(self, n_bytes: int) -> bytes:
        self._n_left -= n_bytes
        if not 0 <= n_bytes <= MAX_HEADER_BYTES or self._n_left < 0:
            raise tarfile.ReadError("a header is too long")
        return self._file.read(n_bytes)


class _Member(tarfile.TarInfo):
    """A member whose extended header is checked first: Python before 3.12.6 needs the square of a forged one's size."""

    def _proc_pax(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        file: _Forward = tar.fileobj  # type: ignore[assignment]
        start = file.tell()
        _check_records(file.read(self._block(self.size)))  # type: ignore[attr-defined]
        file.seek(start)
        member: tarfile.TarInfo = super()._proc_pax(tar)  # type: ignore[misc]
        return member


def _check_records(header: bytes) -> None:
    """Raise ReadError unless a header is records of the form `length key=value`, each as long as it says."""
    start = 0
    while header[start : start + 1] not in (b"", b"\0"):
        record = _RECORD.match(header, start)
        start += int(record[1]) if record else 0
        if record is None or start <= record.end() or header[start - 1 : start] != b"\n":
            raise tarfile.ReadError("an extended header is damaged")
    if _LONG_NUMBER.search(header):
        raise tarfile.ReadError("an extended header holds a number that no tar needs")
