"""The members of a tar one after another, with where each lies: none is unpacked, and no header is trusted.

What tarfile may read is bounded, and it may only go forward.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from clipsieve.sources.names import is_hidden
from clipsieve.sources.signatures import is_image_name
from clipsieve.types import FailureCode

__all__ = ["Broken", "Damage", "Extent", "TarMember", "iter_members"]

MAX_HEADER_BYTES = 1024**2  # of one extended header; a longer one is an attack on memory
MAX_GLOBAL_RECORDS = 64  # they hold for every later member, and are gone through for each
_BLOCK_BYTES = 512
_RECORD = re.compile(rb"(\d{1,7}) [^=]{1,1024}=")
_LONG_NUMBER = re.compile(rb"\d{256}")

# From its mode to its device, the header of a regular file as nearly every writer makes it: plain octal numbers.
_SHORT, _LONG = rb"(?:[0-7]{7}[\0 ]|[0-7]{6} \0)", rb"[0-7]{11}[\0 ]"
_PLAIN = re.compile(
    rb"(?:%b){3}(%b)%b([0-7]{6}\0 |[0-7]{7}\0)0.{172}(?:\0{16}|(?:%b){2})" % (_SHORT, _LONG, _LONG, _SHORT), re.DOTALL
)
_PLAIN_START, _CHECKSUM = 100, slice(148, 156)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where some bytes lie in a tar."""

    start: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member of a tar, of whatever kind.

    Attributes
    ----------
    info : tarfile.TarInfo
        What its headers say.
    start, stop : int
        From the first of its headers, those for all later members included, to where the next member's begin.
    extent : Extent or None
        Its content; of a hard link, that of the member that it names. None for what is no file.
    is_image : bool
        Whether it is one of the inputs.
    """

    info: tarfile.TarInfo
    start: int
    stop: int
    extent: Extent | None
    is_image: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a tar stops making sense, and in what way."""

    offset: int
    code: FailureCode
    detail: str


class Broken(Exception):  # noqa: N818 - what reads members to their end turns it into a `Damage`
    """Where a tar stops making sense: `damage` says it."""

    def __init__(self, offset: int, code: FailureCode, detail: str) -> None:
        super().__init__(detail)
        self.damage = Damage(offset, code, detail)


def iter_members(file: BinaryIO) -> Iterator[TarMember]:
    """Yield the members of a tar that are whole, from a seekable file; `Broken` where that ends too early.

    The file may be read elsewhere in between.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    extents: dict[str, Extent] = {}  # of every regular file, for the links between them
    start = 0
    for info, stop in _walk(file, n_bytes):
        extent = None
        if info.islnk():  # a second name of an earlier member, as GNU tar writes hard links
            extent = extents.get(info.linkname)
        elif info.isreg() and not info.issparse():
            extent = Extent(info.offset_data, info.size)
        if extent is not None:
            extents[info.name] = extent
        is_image = extent is not None and is_image_name(info.name) and not is_hidden(info.name)
        yield TarMember(info, start, stop, extent, is_image)
        start = stop


def _walk(file: BinaryIO, n_bytes: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield the members that are there in full, and where each ends; `Broken` where that ends too early."""
    if n_bytes == 0:
        raise Broken(0, FailureCode.EMPTY_FILE, "0 bytes")
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
        is_plain = member.isreg() and not member.issparse()  # the size of a sparse file is not that of its data
        n_data_bytes = member.size if is_plain else tar.offset - member.offset_data
        if member.offset < end or n_data_bytes < 0 or tar.offset < member.offset_data:
            raise Broken(end, FailureCode.CORRUPT, f"a member at byte {end:,} has an impossible size or place")
        if member.offset_data + n_data_bytes > n_bytes:
            name = member.name.encode(errors="backslashreplace").decode()
            detail = f"the tar ends at byte {n_bytes:,}, within `{name}`, which begins at byte {member.offset:,}"
            raise Broken(member.offset, FailureCode.TRUNCATED, detail)
        if len(tar.pax_headers) > MAX_GLOBAL_RECORDS:
            raise Broken(end, FailureCode.CORRUPT, f"too many records for all members before byte {tar.offset:,}")
        end = tar.offset
        yield member, end


def _unreadable(end: int, n_bytes: int) -> Broken:
    """Return what is wrong where the next member should begin."""
    if end + _BLOCK_BYTES > n_bytes:
        detail = f"the tar ends at byte {n_bytes:,}, without an end mark: it was cut there"
        return Broken(min(end, n_bytes), FailureCode.TRUNCATED, detail)
    return Broken(end, FailureCode.CORRUPT, f"no readable member at byte {end:,} of {n_bytes:,}")


def _check_end(file: BinaryIO, end: int, n_bytes: int) -> None:
    """Make sure that the tar ends as it should: with blocks of zeros, and nothing behind them."""
    file.seek(end)
    block = file.read(_BLOCK_BYTES)
    if len(block) < _BLOCK_BYTES or block.count(0) != len(block):
        raise _unreadable(end, n_bytes)
    while chunk := file.read(1 << 20):
        if chunk.count(0) != len(chunk):
            detail = f"more data after the end mark at byte {end:,}; were two tars joined?"
            raise Broken(end, FailureCode.CORRUPT, detail)


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

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:  # type: ignore[override]
        """Read a header; of a plain one, in a third of the time, name and size alone, which is all that is asked of it."""
        plain = _PLAIN.match(buf, _PLAIN_START) if len(buf) == _BLOCK_BYTES else None
        if plain is None or int(plain[2].rstrip(b"\0 "), 8) != sum(buf) - sum(buf[_CHECKSUM]) + 8 * ord(" "):
            return super().frombuf(buf, encoding, errors)
        member = cls(buf[:100].partition(b"\0")[0].decode(encoding, errors))
        member.size = int(plain[1].rstrip(b"\0 "), 8)
        if prefix := buf[345:500].partition(b"\0")[0]:
            member.name = f"{prefix.decode(encoding, errors)}/{member.name}"
        return member

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
