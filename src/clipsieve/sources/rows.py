"""Rows of tables, streamed: of a CSV or Parquet file from any row on, never the whole file."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import SourceError
from clipsieve.sources.columns import Row
from clipsieve.sources.compressed import unpack
from clipsieve.sources.local_file import read_failure
from clipsieve.sources.storage import Storage, StoredFile
from clipsieve.types import FailureCode

__all__ = ["BATCH_ROWS", "Row", "TableError", "TableFile"]

BATCH_ROWS = 64  # image bytes may be megabytes each


MAX_LINE_CHARS = 16 * 1024**2


class TableError(SourceError):
    """A table file cannot be read; others of the same source may be."""


class TableFile:
    """One CSV or Parquet file.

    Parameters
    ----------
    storage : Storage
        Where it lies.
    file : StoredFile
        Which one.

    Attributes
    ----------
    is_parquet : bool
        By its name.
    is_gzip : bool
        Whether it turned out to be packed when it was opened.
    """

    def __init__(self, storage: Storage, file: StoredFile) -> None:
        self.storage = storage
        self.file = file
        self.is_parquet = file.path.lower().endswith((".parquet", ".pq"))
        self.is_gzip = False
        self._copy: BinaryIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_copy": None}

    def __del__(self) -> None:
        self.close()

    @property
    def url(self) -> str:
        """For messages."""
        return self.storage.url(self.file.path)

    def close(self) -> None:
        """Let go of the file, or of the copy of it on this machine."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def schema(self) -> pa.Schema:
        """Return the columns; SourceError if the file is no table."""
        with self.understood():
            if not self.is_parquet:
                names = (name.encode(errors="surrogateescape") for name in next(self._csv(), []))
                return pa.schema([(name.decode(errors="replace"), pa.string()) for name in names])
            with self.storage.reader(self.file.path) as file, pq.ParquetFile(file) as parquet:
                return parquet.schema_arrow

    def count_rows(self) -> int:
        """Return the number of rows; of Parquet, the footer tells it."""
        with self.understood():
            if not self.is_parquet:
                return max(sum(1 for _ in self._csv()) - 1, 0)
            with self.storage.reader(self.file.path) as file, pq.ParquetFile(file) as parquet:
                return int(parquet.metadata.num_rows)

    def iter_rows(self, columns: Sequence[str], start: int = 0) -> Iterator[Row]:
        """Yield rows from one on, as dictionaries of the columns; a line of CSV that breaks its rules as a failure."""
        with self.understood():
            yield from self._parquet_rows(columns, start) if self.is_parquet else self._csv_rows(columns, start)

    def _parquet_rows(self, columns: Sequence[str], start: int) -> Iterator[Row]:
        # Neither buffered whole nor ahead: a group of rows with image bytes may be larger than the memory.
        parquet = pq.ParquetFile(self.opened(), pre_buffer=False, buffer_size=1 << 20)
        names, skip = list(dict.fromkeys(columns)), start
        for group in range(parquet.num_row_groups):
            n_rows = parquet.metadata.row_group(group).num_rows
            if skip < n_rows:
                yield from islice(_group_rows(parquet, group, names), skip, None)
            skip = max(skip - n_rows, 0)

    def _csv_rows(self, columns: Sequence[str], start: int) -> Iterator[Row]:
        lines = self._csv()
        names = next(lines, [])
        places = {name: names.index(name) for name in columns if name in names}
        for cells in islice(lines, start, None):
            if len(cells) == len(names):
                yield {name: cells[place] for name, place in places.items()}
            else:
                detail = f"the line has {len(cells):,} cells and the table {len(names):,} columns"
                yield read_failure(FailureCode.CORRUPT, detail)

    def iter_records(self) -> Iterator[tuple[list[str], bytes]]:
        """Yield the cells of each line of a CSV file, and its bytes: joined they are the file.

        The names of the columns come first. A record may take several lines of text; a line without cells is an empty one. Rows
        are numbered as by `iter_rows`: the records with cells, after the names.
        """
        with self.understood():
            file = self.opened()
            file.seek(0)
            mark = codecs.BOM_UTF8 if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else b""
            taken: list[str] = []
            for cells in self._csv(taken):
                yield cells, mark + "".join(taken).encode(errors="surrogateescape")
                mark = b""
                taken.clear()

    def _csv(self, taken: list[str] | None = None) -> Iterator[list[str]]:
        """Yield the lines that are not empty, the names of the columns first; all of them where their text is to be taken."""
        file = self.opened()
        file.seek(0)
        first = file.readline(1 << 20).decode("utf-8-sig", errors="replace")
        file.seek(0)
        # A path may hold bytes that are no UTF-8.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            csv.field_size_limit(MAX_LINE_CHARS)  # lines are bounded already
            reader = csv.reader(_bounded(text, taken), delimiter=self._delimiter(first), strict=True)
            yield from (cells for cells in reader if cells or taken is not None)
        except csv.Error as error:  # a quote that is never closed swallows the rows behind it: nobody can count them
            raise csv.Error(f"{error}, at line {reader.line_num:,}") from error
        finally:
            with contextlib.suppress(ValueError):  # the file may have been closed before its rows were read to the end
                text.detach()

    def _delimiter(self, first_line: str) -> str:
        """Return the comma, unless another mark separates the names in the first line and no comma does."""
        marks = ("\t",) if ".tsv" in self.file.path.lower() else (",", ";", "\t")
        return next((mark for mark in marks if mark in first_line), ",")

    def opened(self) -> BinaryIO:
        """Return the whole file on this machine, unpacked, at any place; it is closed by `close`."""
        if self._copy is None:
            packed = self.storage.open_whole(self.file.path)
            self._copy, cut = unpack(packed)
            self.is_gzip = self._copy is not packed
            if cut:
                raise TableError(f"`{self.url}` is damaged: {cut}", hint="fetch or write the file again")
        return self._copy

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what reading a table may raise into SourceError, which names the file."""
        try:
            yield
        except (pa.ArrowException, csv.Error, UnicodeError) as error:
            words = " ".join(str(error).split())[:300]
            raise TableError(
                f"cannot read `{self.url}` as {'Parquet' if self.is_parquet else 'CSV'}: {words}",
                hint="mend the file; another kind of source is read with `--source`",
            ) from error
        except OSError as error:
            raise self.storage.error(self.file.path, error) from error


def _group_rows(parquet: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[Row]:
    """Yield the rows of one group; from a page on that cannot be read, failures."""
    n_left = parquet.metadata.row_group(group).num_rows
    try:
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
            n_left -= batch.num_rows
            yield from _to_rows(batch)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        detail = f"group {group:,} of the rows cannot be read: {' '.join(str(error).split())[:150]}"
        yield from [read_failure(FailureCode.CORRUPT, detail)] * n_left


def _bounded(text: io.TextIOWrapper, taken: list[str] | None) -> Iterator[str]:
    """Yield lines, and put them into a list if there is one; `csv.Error` for one that is longer than any table's."""
    while line := text.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            raise csv.Error(f"a line has more than {MAX_LINE_CHARS:,} characters")
        if taken is not None:
            taken.append(line)
        yield line


def _to_rows(batch: pa.RecordBatch) -> list[Row]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:  # other writers let bytes through that are no UTF-8
        columns = [_decoded(batch.column(name)) for name in batch.schema.names]
        return [dict(zip(batch.schema.names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _decoded(column: pa.Array) -> list[Any]:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return list(column.to_pylist())
    raw = column.cast(pa.large_binary()).to_pylist()
    return [cell if cell is None else cell.decode("utf-8", errors="surrogateescape") for cell in raw]
