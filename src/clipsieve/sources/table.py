"""Images that a table names or holds: CSV or Parquet."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import pyarrow as pa

from clipsieve.errors import SourceError
from clipsieve.sources.ahead import fetch_ahead
from clipsieve.sources.base import MAX_BYTES, Source
from clipsieve.sources.columns import CellReader, Columns, UniqueIds, choose_columns, class_names, text_of
from clipsieve.sources.local_file import read_failure
from clipsieve.sources.names import legible
from clipsieve.sources.rows import Row, TableFile
from clipsieve.sources.storage import Storage, StoredFile, short_names
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
        self._names = short_names(files)
        self._files = {self._names[file.path]: TableFile(storage, file) for file in files}
        first, schema = self._first_schema()
        self.columns = choose_columns(schema, columns or Columns(), where=first.url)
        self._class_names = class_names(schema, self.columns.label)
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
    def options(self) -> Mapping[str, str]:
        """Which column holds what."""
        return {f"{what}_column": name for what, name in self.columns.named().items()}

    def plan(self, part_size: int) -> Plan:
        """Count the rows of each file; see `Source.plan`."""
        if self.columns.id:
            self._check_ids(self.columns.id)
        shards: list[Shard] = []
        for name, table in self._files.items():
            n_rows = self._count_rows(table)
            for start in range(0, n_rows, part_size):
                stop = min(start + part_size, n_rows)
                stamp = f"{name}\0{table.file.stamp}\0{start}\0{stop}"
                digest = hashlib.sha256(stamp.encode(errors="surrogateescape")).hexdigest()
                shards.append(Shard(len(shards), (name, str(start), str(stop)), digest, stop - start))
        if not shards:
            raise SourceError(
                f"`{self.location}` has no rows", expected="at least one row below the names of the columns"
            )
        return Plan(tuple(shards))

    def read(self, shard: Shard) -> Iterator[ImageRef]:
        """Read a stretch of rows, fetching what they name several at once; see `Source.read`."""
        name, start, stop = shard.members[0], int(shard.members[1]), int(shard.members[2])
        table = self._files[name]
        cells = CellReader(table.file.path.rpartition("/")[0], self._storage, self.max_bytes)

        def fetch(item: tuple[int, Row]) -> tuple[bytes | Failure, str | None]:
            row = item[1]
            if isinstance(row, Failure):
                return row, None
            if self._image_column not in row:
                return read_failure(FailureCode.CORRUPT, f"the file has no column `{self._image_column}`"), None
            return cells.read(row[self._image_column])

        rows = enumerate(self._stretch(name, start, stop), start)
        for (index, row), (content, url) in fetch_ahead(rows, fetch):
            facts = {} if isinstance(row, Failure) else row
            yield self._ref(f"{name}:{index}", url or f"{table.url}#{index}", facts, content)

    def _stretch(self, name: str, start: int, stop: int) -> Iterator[Row]:
        """Yield one row for each that was counted; from where the file can no longer be read, failures."""
        n_left = stop - start
        try:
            for row in islice(self._rows_from(name, start), n_left):
                n_left -= 1
                yield row
            detail = "the file has fewer rows than when it was listed"
        except SourceError as error:
            detail = " ".join(error.what.split())
        if n_left:
            self._cursor = None
            yield from [read_failure(FailureCode.CORRUPT, detail)] * n_left
        elif self._cursor is not None:
            self._cursor = (name, stop, self._cursor[2])

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

    def _count_rows(self, table: TableFile) -> int:
        """Return the rows of a file; one of many that cannot be read counts as one row, which fails."""
        try:
            return table.count_rows()
        except SourceError:
            if len(self._files) == 1:
                raise
            return 1
        finally:
            table.close()

    @property
    def _image_column(self) -> str:
        assert self.columns.image is not None, "chosen when the source was made"  # noqa: S101
        return self.columns.image

    def _ref(self, row_id: str, url: str, row: Mapping[str, Any], content: bytes | Failure) -> ImageRef:
        columns = self.columns
        image_id = text_of(row.get(columns.id)) if columns.id else None
        label = text_of(row.get(columns.label), self._class_names) if columns.label else None
        caption = text_of(row.get(columns.caption)) if columns.caption else None
        return ImageRef(image_id or row_id, url, label or None, caption or None, content)

    def _check_ids(self, column: str) -> None:
        """Make sure that each row has an id of its own."""
        ids = UniqueIds(column, self.location)
        for name, table in self._files.items():
            with contextlib.suppress(SourceError) if len(self._files) > 1 else contextlib.nullcontext():
                for index, row in enumerate(table.iter_rows([column])):
                    if not isinstance(row, Failure):
                        ids.add(text_of(row.get(column)), f"row {index:,} of `{legible(name)}`")
            table.close()
