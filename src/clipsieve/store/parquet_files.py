"""Parts opened for reading, on this machine or behind a URL, where what is not needed is not fetched."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from clipsieve.store.files import ask, read_bytes
from clipsieve.store.paths import RunPath, is_remote

__all__ = ["open_buffer", "open_part", "read_part_schema"]

# The first request brings so much: most parts whole, and of larger ones the columns before the embeddings.
_FIRST_BYTES = 2 * 1024**2
_LAST_BYTES = 64 * 1024  # of a larger one: its footer, and mostly the columns behind the embeddings


@contextmanager
def open_part(path: RunPath, *, some: bool) -> Iterator[pq.ParquetFile]:
    """Open a part; `some` says that only some of its columns are to be read."""
    if not is_remote(path):
        # Of a small file, `pq.read_table` takes several times as long, most of it before it reads.
        with pq.ParquetFile(path, memory_map=True) as file:
            yield file
        return
    source = pa.PythonFile(_Ranges(path), mode="r") if some else pa.BufferReader(read_bytes(path))
    with source, pq.ParquetFile(source, pre_buffer=some) as file:
        yield file


@contextmanager
def open_buffer(path: RunPath) -> Iterator[pa.Buffer]:
    """Give all bytes of a part: mapped, or fetched in one request."""
    if is_remote(path):
        yield pa.py_buffer(read_bytes(path))
        return
    with pa.memory_map(str(path)) as mapped:
        yield mapped.read_buffer()


def read_part_schema(path: RunPath) -> pa.Schema:
    """Return the schema of a part, metadata included."""
    if not is_remote(path):
        return pq.read_schema(path)
    with open_part(path, some=True) as file:
        return file.schema_arrow


class _Ranges(io.RawIOBase):
    """A file behind a URL, read range by range; the beginning and the end are fetched once."""

    def __init__(self, path: UPath) -> None:
        self._path = path
        self._at = 0
        self._head = self._fetch(0, _FIRST_BYTES)
        self._tail = b""
        self._size = len(self._head)
        if self._size >= _FIRST_BYTES:
            self._size = int(ask(path, lambda fs: fs.info(path.path))["size"])
            self._tail = self._fetch(max(_FIRST_BYTES, self._size - _LAST_BYTES), self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        start, self._at = self._at, max(self._at, stop)
        if stop <= len(self._head):
            return self._head[start:stop]
        begin = self._size - len(self._tail)
        return self._tail[start - begin : stop - begin] if start >= begin else self._fetch(start, stop)

    def _fetch(self, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        path = self._path
        return bytes(ask(path, lambda fs: fs.cat_file(path.path, start=start, end=stop)))
