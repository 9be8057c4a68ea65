"""Rows of one Parquet file on their way into others: nothing of a row that is left out stays, and the files are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

__all__ = ["RowGroups", "options_like"]

MAX_GROUP_BYTES = 128 * 1024**2  # in memory; a larger group of rows, such as one of images, becomes several
_CODECS: Final[Mapping[str, str]] = {"UNCOMPRESSED": "NONE"} | {
    name: name for name in ("SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD")
}


class RowGroups:
    """Collects chosen rows until they make a group of the new file.

    A dictionary is written as a whole, with values that no row has any more: the images, captions and classes of what was
    removed. So each dictionary is cut down to the values of the rows that are chosen, in the order that they had, at any depth.

    Parameters
    ----------
    writer : pyarrow.parquet.ParquetWriter
        Of the new file, with the schema of the batches.
    """

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._batches: list[pa.RecordBatch] = []
        self._n_bytes = 0

    def add(self, batch: pa.RecordBatch, is_wanted: Bool[np.ndarray, "n"]) -> None:
        """Take in the wanted rows of a batch; a group that grows too large is written."""
        for chosen in _choose(batch, is_wanted):
            # Dictionaries with an order are cut down with the whole group alone: joined, cut ones would lose the order.
            columns = [_cut_down(column, with_ordered=False) for column in chosen.columns]
            self._batches.append(pa.RecordBatch.from_arrays(columns, schema=batch.schema))
            self._n_bytes += self._batches[-1].nbytes
        if self._n_bytes > MAX_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected as a group of rows, if there is any."""
        if self._batches:
            rows = pa.Table.from_batches(self._batches, self._writer.schema)
            columns = [_joined(column) if _has_dictionary(column.type) else column for column in rows.columns]
            rows = pa.Table.from_arrays(columns, schema=rows.schema)
            self._writer.write_table(rows, row_group_size=rows.num_rows)
        self._batches, self._n_bytes = [], 0


def options_like(parquet: pq.ParquetFile) -> dict[str, Any]:
    """Return the options of a `ParquetWriter` whose files are like another one, as far as they can be written at all."""
    facts = parquet.metadata
    group = facts.row_group(0) if facts.num_row_groups else None
    chunks = [group.column(place) for place in range(group.num_columns)] if group else []
    codecs = {chunk.path_in_schema: _CODECS.get(chunk.compression, "SNAPPY") for chunk in chunks}
    coded = [chunk.path_in_schema for chunk in chunks if any("DICTIONARY" in each for each in chunk.encodings)]
    return {
        "compression": codecs or "SNAPPY",
        "use_dictionary": coded if chunks else True,
        "use_deprecated_int96_timestamps": any(chunk.physical_type == "INT96" for chunk in chunks),
        "store_schema": b"ARROW:schema" in (facts.metadata or {}),
        "use_compliant_nested_type": False,  # lists keep the names that they have
    }


def _choose(batch: pa.RecordBatch, is_wanted: Bool[np.ndarray, "n"]) -> list[pa.RecordBatch]:
    """Return the wanted rows."""
    if is_wanted.all():
        return [batch]
    if not is_wanted.any():
        return []
    try:
        return [batch.filter(pa.array(is_wanted))]
    except pa.ArrowNotImplementedError:  # views of strings and lists; stretches of them can be cut out all the same
        edges = np.diff(is_wanted.astype(np.int8), prepend=0, append=0)
        stretches = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
        return [batch.slice(start, stop - start) for start, stop in stretches]


def _has_dictionary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return bool(pa.types.is_dictionary(kind)) or any(_has_dictionary(each) for each in inner)


def _joined(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column in one piece, with a dictionary of its own: a second one would end the use of dictionaries."""
    try:
        pieces = [pa.concat_arrays(column.chunks)]
    except (
        pa.ArrowNotImplementedError,
        pa.ArrowInvalid,
    ):  # values that cannot be joined, or too many for their numbers
        pieces = column.chunks
    return pa.chunked_array([_cut_down(piece, with_ordered=True) for piece in pieces], column.type)


def _cut_down(array: pa.Array, *, with_ordered: bool) -> pa.Array:
    """Return the same cells, with no value in a dictionary that none of them has."""
    kind = array.type
    if not _has_dictionary(kind):
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _cut_down(array.storage, with_ordered=with_ordered))
    if pa.types.is_dictionary(kind):
        return array if kind.ordered and not with_ordered else _used(array)
    if pa.types.is_struct(kind):
        parts = [_cut_down(array.field(place), with_ordered=with_ordered) for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
    if pa.types.is_fixed_size_list(kind):
        start, stop = (kind.list_size * place for place in (array.offset, array.offset + len(array)))
        values = _cut_down(array.values[start:stop], with_ordered=with_ordered)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=array.is_null())
    return _list_of_cut_down(array, with_ordered=with_ordered)


def _list_of_cut_down(array: pa.Array, *, with_ordered: bool) -> pa.Array:
    """Return lists or maps with no value in their dictionaries that none of their elements has."""
    kind, mask = array.type, array.is_null()
    if pa.types.is_map(kind):
        places = array.offsets.to_numpy()
        parts = [
            _cut_down(each[places[0] : places[-1]], with_ordered=with_ordered) for each in (array.keys, array.items)
        ]
        offsets = pa.array(places - places[0], pa.int32(), mask=np.append(np.asarray(mask), False))
        return pa.MapArray.from_arrays(offsets, *parts, type=kind)
    values = _cut_down(array.flatten(), with_ordered=with_ordered)
    sizes = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    is_large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    edges = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64 if is_large else np.int32)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        made = pa.LargeListViewArray if is_large else pa.ListViewArray
        return made.from_arrays(edges[:-1], sizes.astype(edges.dtype), values, type=kind, mask=mask)
    made = pa.LargeListArray if is_large else pa.ListArray
    return made.from_arrays(edges, values, type=kind, mask=mask)


def _used(array: pa.DictionaryArray) -> pa.DictionaryArray:
    numbers = array.indices
    used = np.unique(numbers.drop_null().to_numpy())
    if len(used) == len(array.dictionary):
        return array
    renumbered = np.zeros(len(array.dictionary), dtype=numbers.type.to_pandas_dtype())
    renumbered[used] = np.arange(len(used))
    is_null = np.asarray(numbers.is_null())
    fresh = pa.array(renumbered[numbers.fill_null(0).to_numpy()], numbers.type, mask=is_null)
    return pa.DictionaryArray.from_arrays(fresh, _take(array.dictionary, used), ordered=array.type.ordered)


def _take(values: pa.Array, places: Int[np.ndarray, "m"]) -> pa.Array:
    try:
        return values.take(pa.array(places))
    except pa.ArrowNotImplementedError:  # views
        return pa.concat_arrays([values[place : place + 1] for place in places.tolist()] or [values[:0]])
