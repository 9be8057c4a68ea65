"""Rows of a Parquet file, copied with their schema: group by group, never the whole file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool

from clipsieve.outputs.export.named_files import CellCheck, changed_table
from clipsieve.outputs.export.parquet_rows import RowGroups, options_like
from clipsieve.sources.names import legible
from clipsieve.sources.rows import BATCH_ROWS, TableError, TableFile

__all__ = ["copy_parquet"]

_BATCH_BYTES = 4 * 1024**2
_MAX_BATCH_ROWS = 65_536


def copy_parquet(
    table: TableFile, columns: Sequence[str], image_column: str, check: CellCheck, targets: Mapping[int, BinaryIO]
) -> None:
    """Copy each row to where it goes: all columns, types, key-value metadata, groups, codecs of the columns.

    Parameters
    ----------
    table : TableFile
        Parquet.
    columns : sequence of str
        Those that were read when the table was scanned.
    image_column : str
        Which of them holds the images.
    check : CellCheck
        Looks at the images; is told of rows that cannot be read.
    targets : mapping of int to BinaryIO
        By code of `Decision`. If it is empty, only what `check` still has to see is read.

    Raises
    ------
    SourceError
        If the table, or a file that it names, is not what was scanned, or cannot be read.
    """
    with table.understood():
        # Neither buffered whole nor ahead: a group of rows with image bytes may be larger than the memory.
        parquet = pq.ParquetFile(table.opened(), pre_buffer=False, buffer_size=1 << 20)
    facts, n_rows = parquet.metadata, len(check.unit.codes)
    if facts.num_rows != n_rows:
        raise changed_table(f"`{legible(check.unit.name)}`", f"{n_rows:,} rows", f"{facts.num_rows:,}")
    wanted = None if targets else [name for name in dict.fromkeys(columns) if name in parquet.schema_arrow.names]
    with ExitStack() as stack:
        options = options_like(parquet)
        sinks = {
            code: RowGroups(stack.enter_context(pq.ParquetWriter(target, parquet.schema_arrow, **options)))
            for code, target in targets.items()
        }
        start = 0
        for group in range(facts.num_row_groups):
            stop = start + facts.row_group(group).num_rows
            is_unread = bool(check.is_unread[start:stop].any())
            if targets or is_unread or (check.files is not None and _may_name_files(parquet, group, image_column)):
                n_batch = BATCH_ROWS if is_unread else _batch_rows(parquet, group)
                batches = _batches(parquet, group, wanted, n_batch)
                _copy_group(batches, start, stop, image_column, check, sinks)
            start = stop


def _copy_group(
    batches: Iterator[pa.RecordBatch],
    start: int,
    stop: int,
    image: str,
    check: CellCheck,
    sinks: Mapping[int, RowGroups],
) -> None:
    # Rows that cannot be read begin at the same one as in the scan, since batches begin where those of `TableFile` do.
    try:
        for batch in batches:
            codes = check.unit.codes[start : start + batch.num_rows]
            for row, content, path in _images(batch, image, check.goes_somewhere[start : start + batch.num_rows]):
                check.see(start + row, content, path)
            for code, sink in sinks.items():
                sink.add(batch, codes == code)
            start += batch.num_rows
    except TableError as error:
        check.lose(start, stop, error.what)
    for sink in sinks.values():
        sink.flush()


def _images(
    batch: pa.RecordBatch, image: str, is_wanted: Bool[np.ndarray, "n"]
) -> Iterator[tuple[int, pa.Buffer | None, str | None]]:
    """Yield of the wanted rows the image's bytes, or else its path."""
    places = batch.schema.get_all_field_indices(image)
    if not places:
        return
    column = batch.column(places[0])
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if pa.types.is_struct(column.type):
        contents, paths = _field(column, "bytes"), _field(column, "path")
    else:
        contents, paths = (column, None) if _is_binary(column.type) else (None, column)
    for row in np.flatnonzero(is_wanted).tolist():
        content = None if contents is None else contents[row].as_buffer()
        path = None if paths is None or content is not None or not _is_text(paths.type) else paths[row].as_buffer()
        yield row, content, None if path is None else path.to_pybytes().decode(errors="surrogateescape")


def _field(column: pa.Array, name: str) -> pa.Array | None:
    return pc.struct_field(column, name) if column.type.get_field_index(name) >= 0 else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _batches(parquet: pq.ParquetFile, group: int, columns: list[str] | None, n_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one group; `TableError` where they cannot be read any further."""
    try:
        yield from parquet.iter_batches(n_rows, row_groups=[group], columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        words = " ".join(str(error).split())[:150]
        raise TableError(f"group {group:,} of the rows cannot be read: {words}") from error


def _batch_rows(parquet: pq.ParquetFile, group: int) -> int:
    """Return how many rows are read at once: few of images, many of short texts."""
    facts = parquet.metadata.row_group(group)
    n_rows = _BATCH_BYTES * int(facts.num_rows) // max(int(facts.total_byte_size), 1)
    return max(BATCH_ROWS, min(n_rows, _MAX_BATCH_ROWS))


def _may_name_files(parquet: pq.ParquetFile, group: int, image: str) -> bool:
    """Return whether a cell of a group may hold a path; where there are bytes, their statistics tell it."""
    facts = parquet.metadata.row_group(group)
    chunks = [facts.column(place) for place in range(facts.num_columns)]
    for chunk in chunks:
        if chunk.path_in_schema in (image, f"{image}.bytes") and chunk.physical_type == "BYTE_ARRAY":
            counts = chunk.statistics
            is_text = chunk.path_in_schema == image and _is_text(_plain(parquet.schema_arrow.field(image).type))
            return is_text or counts is None or not counts.has_null_count or counts.null_count > 0
    return False


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
