"""Images that a table names or holds: CSV or Parquet."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import pyarrow as pa

from clipsieve.errors import SourceError
from clipsieve.sources.base import MAX_BYTES, Known, Source, Stamp, changed, cut
from clipsieve.sources.columns import CellReader, Columns, RowReader, UniqueIds, choose_columns, holds_bytes, text_of
from clipsieve.sources.local_file import read_failure, stamp_of_local_file
from clipsieve.sources.names import legible
from clipsieve.sources.rows import Row, TableError, TableFile
from clipsieve.sources.storage import Storage, StoredFile
from clipsieve.types import Failure, FailureCode, ImageRef, Plan, Shard

__all__ = ["TableSource"]


class TableSource(Source):
    """One input for each row of one or more CSV or Parquet files of the same columns.

    The image column holds paths (relative to the table's folder), URLs, encoded images, or the struct of `bytes` and `path` that
    Hugging Face's libraries write. Rows are streamed. No part holds rows of two files.

    Parameters
    ----------
    location : str
        As a person gave it.
    storage : Storage
        Where the files lie.
    files : sequence of StoredFile
        In order.
    columns : Columns
        Those that were named; the rest is chosen by names and types.
    max_bytes : int
        Larger images are not read but recorded as failures.
    """

    kind: ClassVar[str] = "table"

    def __init__(
        self,
        location: str,
        storage: Storage,
        files: Sequence[StoredFile],
        columns: Columns | None = None,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._location = location
        self._files = {file.name: TableFile(storage, file) for file in files}
        first, self._schema = self._first_schema()
        self.columns = choose_columns(self._schema, columns or Columns(), where=first.url)
        self._storage = storage
        self.max_bytes = max_bytes
        self._cursor: tuple[str, int, Iterator[Row]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cursor": None}

    @property
    def location(self) -> str:
        """The absolute path or URL, with the stars that were given."""
        return self._location

    @property
    def tables(self) -> Mapping[str, TableFile]:
        """The files, by the names that shards have of them."""
        return self._files

    @property
    def options(self) -> Mapping[str, str]:
        """Which column holds what."""
        return {f"{what}_column": name for what, name in self.columns.named().items()}

    def plan(self, part_size: int, known: Known | None = None) -> Plan:  # noqa: ARG002 - listing is cheap here
        """Count the rows of each file; see `Source.plan`."""
        if self.columns.id:
            self._check_ids(self.columns.id)
        shards = cut([self._survey(name, table) for name, table in self._files.items()], part_size)
        if not shards:
            raise SourceError(
                f"`{self.location}` has no rows", expected="at least one row below the names of the columns"
            )
        return Plan(shards)

    def _survey(self, name: str, table: TableFile) -> tuple[str, Stamp, int, str]:
        """Count the rows of a file; one of many that cannot be read is one row, which fails."""
        try:
            n_rows, named = table.count_rows(), self._stamps_of_named_files(table)
        except SourceError as error:
            if len(self._files) == 1:
                raise
            return name, lambda _start, _stop: table.file.stamp, 1, " ".join(error.what.split())
        finally:
            table.close()
        return name, lambda start, stop: f"{table.file.stamp} {named[start:stop].tobytes().hex()}", n_rows, ""

    def _stamps_of_named_files(self, table: TableFile) -> array[int]:
        """Return a number for each row that changes when the file of this machine does that the row names."""
        stamps = array("Q")
        if self._storage.is_local and not holds_bytes(self._schema.field(self._image_column).type):
            folder = table.file.path.rpartition("/")[0]
            for row in table.iter_rows([self._image_column]):
                cell = None if isinstance(row, Failure) else row.get(self._image_column)
                stamps.append(stamp_of_local_file(folder, cell) if isinstance(cell, str) else 0)
        return stamps

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Read a stretch of rows, fetching what they name several at once; see `Source.read`."""
        name, start = shard.members[0], int(shard.members[1])
        table = self._files[name]
        cells = CellReader(table.file.path.rpartition("/")[0], self._storage, self.max_bytes)
        rows = RowReader(self.columns, self._schema, cells)
        yield from rows.read(name, table.url, self._stretch(shard), start)

    def _stretch(self, shard: Shard) -> Iterator[Row]:
        """Yield one row for each that was counted; from where the file can no longer be read, failures."""
        name, (start, stop, n_rows), fault = shard.members[0], map(int, shard.members[1:4]), shard.members[4]
        n_left, detail = stop - start, fault or "the file has fewer rows than when it was listed"
        try:
            for row in [] if fault else islice(self._rows_from(name, start), n_left):
                n_left -= 1
                yield row
        except TableError as error:
            detail = " ".join(error.what.split())
        if n_left:
            self._cursor = None
            yield from [read_failure(FailureCode.CORRUPT, detail)] * n_left
        elif self._cursor is not None:
            self._cursor = (name, stop, self._cursor[2])
            if stop == n_rows and next(self._cursor[2], None) is not None:
                raise changed(legible(name))

    def _rows_from(self, name: str, start: int) -> Iterator[Row]:
        """Return the rows of a file from one on; where the last shard ended there, its open file is read on."""
        if self._cursor is None or self._cursor[:2] != (name, start):
            before, self._cursor = self._cursor and self._cursor[0], None  # its rows end before its file is closed
            if before not in (None, name):
                self._files[before].close()
            wanted = list(self.columns.named().values())
            self._cursor = (name, start, self._files[name].iter_rows(wanted, start))
        return self._cursor[2]

    def _first_schema(self) -> tuple[TableFile, pa.Schema]:
        """Return the columns of the first file that can be read; the others must have them too."""
        *others, last = self._files.values()
        for table in others:
            with contextlib.suppress(SourceError):
                return table, table.schema()
        return last, last.schema()

    @property
    def _image_column(self) -> str:
        assert self.columns.image is not None, "chosen when the source was made"  # noqa: S101
        return self.columns.image

    def _check_ids(self, column: str) -> None:
        """Make sure that each row has an id of its own."""
        ids = UniqueIds(column, self.location)
        for name, table in self._files.items():
            with contextlib.suppress(SourceError) if len(self._files) > 1 else contextlib.nullcontext():
                for index, row in enumerate(table.iter_rows([column])):
                    if not isinstance(row, Failure):
                        ids.add(text_of(row.get(column)), f"row {index:,} of `{legible(name)}`")
            table.close()
