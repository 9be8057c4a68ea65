"""Export of tables: each CSV or Parquet file again, without the rows that go elsewhere."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from typing import BinaryIO, ClassVar
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.errors import SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import HowToPlace, Places, Unit, Writer, Written
from clipsieve.outputs.export.csv_copy import copy_csv
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.named_files import CellCheck, NamedFiles
from clipsieve.outputs.export.parquet_copy import copy_parquet
from clipsieve.outputs.export.unscanned import columns_with_images, warning_of
from clipsieve.sources.rows import BATCH_ROWS, TableFile
from clipsieve.sources.table import TableSource
from clipsieve.types import Shard

__all__ = ["TableWriter"]

DATA_FOLDER = "data"
N_TABLES_SAMPLED = 3  # all have the same columns


class TableWriter(Writer):
    """Writes rows into tables of the same names, in the same order, in the folder `data` of each place.

    The root of a place is left to `manifest.parquet`: who reads a folder of Parquet files as one table must not take that for a
    part of it.

    - Of Parquet, schema, columns, key-value metadata, groups of rows and codecs stay; groups of which more than 128 MiB are kept
      become several. Cells are as they were, pages are written anew.
    - Of CSV, the bytes of each record stay, whatever they are. A packed file is packed anew.
    - Files that a table of this machine names by a path below its own folder go along, so that the exported table works where it
      lies. What it names by an absolute path, a path with `..`, or a URL stays where it is, and so do files beside a table
      behind a URL. A file that several rows name is wherever one of these rows goes.
    - A table of which nothing is kept is kept without rows; elsewhere it is left out. One that had no rows is kept.
    - A table that could not be read when it was scanned is told as a problem, and left out.

    Parameters
    ----------
    source : TableSource
        The one that was scanned.
    how : {"copy", "hardlink", "symlink"} or None, default="copy"
        How files that rows name come to a place on this machine; None leaves them where they are.
    """

    kind: ClassVar[str] = "table"

    def __init__(self, source: TableSource, how: HowToPlace | None = "copy") -> None:
        self._source = source
        self._how = how
        self._written: set[str] = set()
        local = [table for table in source.tables.values() if table.storage.is_local]
        self._paths = frozenset(os.path.realpath(table.file.path) for table in local)

    def unit_of(self, shard: Shard) -> str:
        """Return the table's name; see `Writer.unit_of`."""
        return shard.members[0]

    def write(self, unit: Unit, places: Places) -> Written:
        """Write a table, and the files that it names, to its places; see `Writer.write`.

        Raises
        ------
        SourceError
            If an image is not the one that was scanned, or the table cannot be read any more; nothing of this table is
            written then.
        ExportError
            If a place cannot be written.
        """
        name, fault = _name_in_place(unit), unit.shards[0].members[4] if unit.shards else ""
        codes = unit.codes.tolist()
        if fault:
            return Written(problems={row: fault for row, code in enumerate(codes) if code in places})
        targets = {decision: place for decision, place in places.items() if decision in {*codes, Decision.KEEP}}
        missing = {decision: place for decision, place in targets.items() if place.size(name) is None}
        table = self._source.tables[unit.name]
        check = CellCheck(unit, targets, self._files(table, name))
        try:
            self._write(table, name, check, missing)
        finally:
            table.close()
        sizes = [place.size(name) or 0 for place in targets.values()]
        n_files, n_bytes = (check.files.n_files, check.files.n_bytes) if check.files else (0, 0)
        standing = {row: name for row, code in enumerate(codes) if code in targets and row not in check.lost}
        return Written(len(sizes) + n_files, sum(sizes) + n_bytes, standing, check.problems)

    def remember(self, unit: Unit, written: Written) -> None:  # noqa: ARG002
        """Take in which tables have rows; see `Writer.remember`."""
        self._written.add(unit.name)

    def finish(self, places: Places) -> Iterator[Written]:
        """Write the tables that had no rows from the start; see `Writer.finish`."""
        for name in self._source.tables:
            if name not in self._written and Decision.KEEP in places:
                yield self.write(Unit(name, (), (), (), np.zeros(0, dtype=np.uint8)), places)
        for place in places.values():
            place.flush()  # the files that rows name, all at once

    def warnings(self) -> tuple[str, ...]:
        """Return which columns hold images that were not scanned; see `Writer.warnings`."""
        image = self._source.columns.image or ""
        found: dict[str, None] = {}
        for table in islice(self._source.tables.values(), N_TABLES_SAMPLED):
            with contextlib.suppress(SourceError):  # such a table is told as a problem, or ends the export
                found |= dict.fromkeys(columns_with_images(_first_rows(table, image), image))
        return warning_of(list(found))

    def _write(self, table: TableFile, name: str, check: CellCheck, missing: Mapping[Decision, Destination]) -> None:
        if not missing and check.files is None and not check.is_unread.any():
            return  # nothing is left to be told: the table need not be fetched
        image = self._source.columns.image or ""
        with table.understood():
            table.opened()
        # Also if no table is missing: what cannot be read is told each time.
        with ExitStack() as stack:
            targets = {int(decision): stack.enter_context(place.writer(name)) for decision, place in missing.items()}
            if table.is_parquet:
                copy_parquet(table, list(self._source.columns.named().values()), image, check, targets)
            else:
                pack = _packed if table.is_gzip else _plain
                copy_csv(table, image, check, {code: pack(target, stack) for code, target in targets.items()})

    def _files(self, table: TableFile, name: str) -> NamedFiles | None:
        if self._how is None or not table.storage.is_local:
            return None
        prefix = name[: name.rfind("/") + 1]
        return NamedFiles(os.path.dirname(table.file.path), prefix, self._paths, self._how)


def _first_rows(table: TableFile, image: str) -> pa.Table:
    """Return the first rows of a Parquet file, without their images; of CSV, which can hold none, nothing."""
    if not table.is_parquet:
        return pa.table({})
    with table.understood(), table.storage.reader(table.file.path) as file:
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        names = [name for name in parquet.schema_arrow.names if name != image]
        batches = list(islice(parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False), 1)) if names else []
    return pa.Table.from_batches(batches) if batches else pa.table({})


def _name_in_place(unit: Unit) -> str:
    return f"{DATA_FOLDER}/{os.fsdecode(unquote_to_bytes(unit.name))}"


def _plain(target: BinaryIO, _stack: ExitStack) -> Callable[[bytes], object]:
    return target.write


def _packed(target: BinaryIO, stack: ExitStack) -> Callable[[bytes], object]:
    """Return what packs into a file: without name and time, so that the same rows give the same bytes."""
    return stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0)).write
