"""Members of a tar, copied into another one as they stand there: headers, contents and padding."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import BinaryIO, Final

from clipsieve.errors import SourceError
from clipsieve.sources.tar_walk import Extent, TarMember

__all__ = ["TarCopy", "digest_of", "tar_copy"]

_BLOCK_BYTES = tarfile.BLOCKSIZE
_CHUNK_BYTES = 1 << 20
_GNU: Final = tarfile.GNU_FORMAT
_PAX: Final = tarfile.PAX_FORMAT
# Headers before a member's own: pax for all members, pax, that of Solaris, long link and long name of GNU.
_FOR_ALL = b"g"
_EXTENDED = b"gxXKL"
# What pax says of a link, and not of the file that takes its place.
_OF_LINKS = ("path", "linkpath", "size")


class TarCopy:
    """A tar that grows, member by member.

    Parameters
    ----------
    write : callable
        Takes the bytes of the tar, one stretch after another.
    source : BinaryIO
        The tar that members come from, unpacked; it may be read elsewhere in between.

    Raises
    ------
    SourceError
        From any method, if the source cannot be read, or ends before it should.
    """

    def __init__(self, write: Callable[[bytes], object], source: BinaryIO) -> None:
        self._write_to = write
        self._source = source
        self._n_bytes = 0

    def add(self, member: TarMember) -> str | None:
        """Copy a member with all its headers; return the sha256 of its content, None if it has none of its own."""
        start = member.info.offset_data
        if member.extent is None or member.extent.start != start:
            self._copy(member.start, member.stop)
            return None
        digest = hashlib.sha256()
        self._copy(member.start, start)
        self._copy(start, start + member.extent.n_bytes, digest)
        # A tar may be cut within the padding of its last member.
        self._copy(start + member.extent.n_bytes, member.stop, may_end=True)
        self._pad(_BLOCK_BYTES)
        return digest.hexdigest()

    def add_headers_for_all(self, member: TarMember) -> None:
        """Copy of a member only those of its headers that hold for later members too."""
        for start, stop in _headers_for_all(self._source, member):
            self._copy(start, stop)

    def add_content(self, member: TarMember, extent: Extent) -> str:
        """Write a hard link as the file that it stood for; return the sha256 of the content."""
        self.add_headers_for_all(member)
        info = copy(member.info)
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", extent.n_bytes
        info.pax_headers = {name: text for name, text in info.pax_headers.items() if name not in _OF_LINKS}
        self._write(info.tobuf(_PAX if info.pax_headers else _GNU, "utf-8", "surrogateescape"))
        digest = hashlib.sha256()
        self._copy(extent.start, extent.start + extent.n_bytes, digest)
        self._pad(_BLOCK_BYTES)
        return digest.hexdigest()

    def end(self) -> None:
        """Write the end mark, two blocks of zeros, and fill up the last record, as POSIX wants it."""
        self._write(bytes(2 * _BLOCK_BYTES))
        self._pad(tarfile.RECORDSIZE)

    def _copy(self, start: int, stop: int, digest: hashlib._Hash | None = None, *, may_end: bool = False) -> None:
        for chunk in _chunks(self._source, start, stop, may_end=may_end):
            self._write(chunk)
            if digest is not None:
                digest.update(chunk)

    def _pad(self, n_bytes: int) -> None:
        self._write(bytes(-self._n_bytes % n_bytes))

    def _write(self, content: bytes) -> None:
        self._write_to(content)
        self._n_bytes += len(content)


@contextmanager
def tar_copy(target: BinaryIO, source: BinaryIO, *, is_gzip: bool) -> Iterator[TarCopy]:
    """Open a new tar in a file; it is ended with the block, if no error ends that.

    Packed ones have neither name nor time within: the same members give the same bytes.
    """
    if not is_gzip:
        made = TarCopy(target.write, source)
        yield made
        made.end()
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=target, mtime=0) as packed:
        made = TarCopy(packed.write, source)
        yield made
        made.end()


def digest_of(source: BinaryIO, extent: Extent) -> str:
    """Return the sha256 of a content; errors as for `TarCopy`."""
    digest = hashlib.sha256()
    for chunk in _chunks(source, extent.start, extent.start + extent.n_bytes):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(source: BinaryIO, start: int, stop: int, *, may_end: bool = False) -> Iterator[bytes]:
    """Yield the bytes between two places."""
    # Errors of reading are told from those of writing here: whoever writes takes each OSError for one of its own.
    try:
        while start < stop:
            source.seek(start)
            chunk = source.read(min(_CHUNK_BYTES, stop - start))
            if not chunk and may_end:
                return
            if not chunk:
                raise SourceError(f"it ends at byte {start:,}, before it should")
            yield chunk
            start += len(chunk)
    except OSError as error:
        raise SourceError(f"it cannot be read at byte {start:,}: {error.strerror or type(error).__name__}") from error


def _headers_for_all(source: BinaryIO, member: TarMember) -> Iterator[tuple[int, int]]:
    """Yield where the headers lie that hold for all later members, of those in front of a member."""
    start = member.start
    while start < member.info.offset_data:
        block = b"".join(_chunks(source, start, start + _BLOCK_BYTES))
        kind = block[156:157]
        if kind not in _EXTENDED:
            return
        n_bytes = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
        stop = start + _BLOCK_BYTES + n_bytes + -n_bytes % _BLOCK_BYTES
        if kind == _FOR_ALL:
            yield start, stop
        start = stop
