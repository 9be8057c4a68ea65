"""The flagged images as Parquet, written as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["FLAGGED_SCHEMA", "FlaggedTable"]

_BATCH_ROWS = 8192
_NEVER_NULL = ("index", "image_id", "uri", "probability", "class_name", "class_index")
_TYPES = {
    "index": pa.int64(),
    "image_id": pa.string(),
    "uri": pa.string(),
    "label": pa.string(),
    "caption": pa.string(),
    "probability": pa.float32(),
    "class_name": pa.string(),
    "class_index": pa.int32(),
    "concept": pa.string(),
    "margin": pa.float32(),
    "verdict": pa.string(),
}
FLAGGED_SCHEMA = pa.schema([pa.field(name, kind, nullable=name not in _NEVER_NULL) for name, kind in _TYPES.items()])


class FlaggedTable:
    """A Parquet file of flagged images; of one batch at most is held.

    Parameters
    ----------
    file : binary file
        Open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._writer = pq.ParquetWriter(file, FLAGGED_SCHEMA, compression="zstd")
        self._rows: list[Sequence[object]] = []

    def __enter__(self) -> FlaggedTable:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, row: Sequence[object]) -> None:
        """Add one image, its values in the order of the schema."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(FLAGGED_SCHEMA)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, FLAGGED_SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=FLAGGED_SCHEMA))
        self._rows.clear()
