"""Lists of images instead of a data set: as CSV, as Parquet, as DataComp's tools take them, or as torchvision does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from clipsieve.errors import UsageError
from clipsieve.outputs.export.base import Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.folder_index import write_folder_index
from clipsieve.outputs.export.uids import write_uids

if TYPE_CHECKING:
    from typing import TypeAlias

    WriteRows: TypeAlias = Callable[[BinaryIO, Iterator[pa.Table]], None]

__all__ = ["LIST_SCHEMA", "write_list"]

GROUP_ROWS = 65_536

LIST_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("probability", pa.float32()),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("decided_by", pa.string()),
    ]
)


def write_list(
    form: str, destination: Destination, rows: Iterable[pa.Table], *, classes: Sequence[str] | None = None
) -> Written:
    """Write one list of images; an older one of that form in the same place is replaced.

    Parameters
    ----------
    form : {"csv", "parquet", "datacomp", "torchvision"}
        - "csv", `images.csv`: the columns of `LIST_SCHEMA`, in UTF-8, lines ending with a line feed. Every text is quoted, and
          what is not known is empty without quotes. Texts stand as they are, also those that begin with `=`, `+`, `-` or `@`,
          since images must be found again by them: import the columns as text into a spreadsheet, or it takes them for
          formulas.
        - "parquet", `images.parquet`: the same columns, with their types.
        - "datacomp", `uids.npy`: see `uids.write_uids`.
        - "torchvision", `index.json`: see `folder_index.write_folder_index`.

        What the source says of an image beyond label and caption is in no list: it lies in the source and in the run.
    destination : Destination
        Where to.
    rows : iterable of pyarrow.Table
        The images, in order, some at a time: the columns of `LIST_SCHEMA` and `metadata`.
    classes : sequence of str, optional
        For "torchvision": all classes of the source, so that a class keeps its number when no image of it is left, and in
        every list. By default, those of the rows.

    Returns
    -------
    Written
        One file.

    Raises
    ------
    UsageError
        If the form is unknown, or images cannot stand in it; the list is not written then.
    ExportError
        If the place cannot be written.
    """
    writers: Mapping[str, tuple[str, WriteRows]] = {
        "csv": ("images.csv", _csv),
        "parquet": ("images.parquet", _parquet),
    }
    if form == "datacomp":
        name = write_uids(destination, rows)
    elif form == "torchvision":
        name = write_folder_index(destination, rows, classes)
    elif form in writers:
        name, write = writers[form]
        with destination.writer(name) as file:
            write(file, (table.select(LIST_SCHEMA.names).cast(LIST_SCHEMA) for table in rows))
    else:
        raise UsageError(f"there are no lists of the form `{form}`", expected="csv, parquet, datacomp or torchvision")
    return Written(1, destination.size(name) or 0)


def _csv(file: BinaryIO, rows: Iterator[pa.Table]) -> None:
    # Not Python's csv: before 3.13 it leaves carriage returns bare, and readers take them for the end of a line.
    with pa.csv.CSVWriter(file, LIST_SCHEMA) as writer:
        for table in rows:
            writer.write_table(table)


def _parquet(file: BinaryIO, rows: Iterator[pa.Table]) -> None:
    repeated = ["label", "decision", "reason", "decided_by"]
    with pq.ParquetWriter(file, LIST_SCHEMA, compression="zstd", use_dictionary=repeated) as writer:
        for table in _grouped(rows):
            writer.write_table(table, row_group_size=len(table))


def _grouped(rows: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows with many in each table: each becomes a group of rows in the file."""
    waiting: list[pa.Table] = []
    for table in rows:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting)
