"""Embeddings that somebody else has computed, read where they lie: `.npy` files beside Parquet files of metadata.

The layout is that of clip-retrieval and LAION: `img_emb/img_emb_0.npy`, `metadata/metadata_0.parquet`, joined by the
number in the file's name and by row. `RUN/embeddings.json` says which files a run stands for (`docs/format.md`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from clipsieve.errors import RunCorruptError, UsageError
from clipsieve.store.files import read_text
from clipsieve.store.half import single
from clipsieve.store.layout import FORMAT_VERSION, image_schema, valid_strings
from clipsieve.store.npy_files import EmbeddingFile, stamp_of
from clipsieve.store.paths import RunPath
from clipsieve.types import FailureCode, FailureStep

__all__ = ["ExternalEmbeddings"]

_COLUMNS = {
    "uri": ("url", "URL", "image_path", "path"),
    "caption": ("caption", "text", "TEXT"),
    "label": ("label", "class"),
}


class ExternalEmbeddings:
    """The images' parts of a run whose embeddings lie elsewhere: each is read and put together when it is asked for.

    Parameters
    ----------
    files : list of EmbeddingFile
        In order.
    part_size : int
        The most rows in a part; no part spans two files.
    columns : dict of str to str
        Which column of the metadata is the `image_id`, `uri`, `label`, `caption`; the rest is chosen by name.

    Attributes
    ----------
    parts : list of (EmbeddingFile, int, int)
        Of each part the file, its first row, and the one after its last.
    """

    def __init__(self, files: list[EmbeddingFile], part_size: int, columns: dict[str, str]) -> None:
        self.files = files
        self.part_size = part_size
        self.columns = columns
        self.parts = [
            (file, start, min(start + part_size, file.n_rows))
            for file in files
            for start in range(0, file.n_rows, part_size)
        ]

    @property
    def n_parts(self) -> int:
        """The number of parts."""
        return len(self.parts)

    @property
    def n_rows(self) -> int:
        """The number of embeddings."""
        return sum(file.n_rows for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return what `embeddings.json` holds."""
        return {"columns": self.columns, "part_size": self.part_size, "files": [asdict(file) for file in self.files]}

    @classmethod
    def load(cls, path: RunPath) -> ExternalEmbeddings:
        """Read `embeddings.json`; RunCorruptError if it makes no sense."""
        try:
            value = json.loads(read_text(path))
            files = [EmbeddingFile(**file) for file in value["files"]]
            return cls(files, int(value["part_size"]), dict(value["columns"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunCorruptError(f"`{path}` is damaged: {error}", hint="scan the embeddings again") from error

    def read_part(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of one part, with the schema of `images/part-*.parquet`, or some of its columns.

        Raises
        ------
        RunCorruptError
            If a file has changed since the scan, or is gone.
        """
        file, start, stop = self.parts[index]
        self.check_unchanged(file)
        schema = image_schema(file.embedding_dim, pa.float16() if file.dtype == "float16" else pa.float32())
        names = [name for name in schema.names if columns is None or name in columns]
        known = _Stretch(file, start, stop, self.columns)
        arrays = [known.column(schema.field(name)) for name in names]
        metadata = {"clipsieve.format": str(FORMAT_VERSION), "clipsieve.inputs": self.fingerprint(index)}
        return pa.Table.from_arrays(arrays, schema=pa.schema([schema.field(n) for n in names], metadata=metadata))

    def fingerprint(self, index: int) -> str:
        """Return what changes when the inputs of a part do."""
        file, start, stop = self.parts[index]
        return hashlib.sha256(f"{file.embeddings}\0{file.stamp}\0{start}\0{stop}".encode()).hexdigest()

    @staticmethod
    def rows(file: EmbeddingFile, start: int, stop: int) -> Float[np.ndarray, "n d"]:
        """Return rows of a file as they lie there, mapped and not read; there must be one at least."""
        return _rows(file, start, stop)

    def check_columns(self) -> None:
        """Make sure that the columns that were named are there; UsageError otherwise."""
        for file in self.files:
            found = pq.read_schema(file.metadata).names if file.metadata else []
            for what, name in self.columns.items():
                if name in found and not _is_plain(pq.read_schema(str(file.metadata)).field(name).type):
                    raise UsageError(f"the column `{name}` in `{file.metadata}` holds no texts or numbers")
                if name not in found:
                    raise UsageError(
                        f"there is no column `{name}` for the {what}",
                        found=", ".join(f"`{n}`" for n in found) or "no metadata",
                        expected=f"one in `{file.metadata}`"
                        if file.metadata
                        else "a folder `metadata` of Parquet files",
                    )

    def sample(self, n_rows: int) -> Float[np.ndarray, "n d"]:
        """Return the first rows of each file, as they lie there."""
        each = -(-n_rows // len(self.files))
        return np.concatenate([_rows(file, 0, min(each, file.n_rows)) for file in self.files])[:n_rows]

    @staticmethod
    def check_unchanged(file: EmbeddingFile) -> None:
        """Make sure that a file and its metadata are what was scanned; RunCorruptError otherwise."""
        try:
            found = stamp_of(file)
        except OSError as error:
            found = error.strerror or "unreadable"
        if found != file.stamp:
            raise RunCorruptError(
                f"`{file.embeddings}` or its metadata is not what was scanned",
                expected=f"sizes and times {file.stamp}",
                found=found,
                hint="give the command that scanned it again",
            )


def _rows(file: EmbeddingFile, start: int, stop: int) -> Float[np.ndarray, "n d"]:
    """Return rows of an array, mapped and not read: the map ends with the last use of the rows."""
    dtype = np.dtype(file.dtype)
    offset = file.offset_bytes + start * file.embedding_dim * dtype.itemsize
    shape = (stop - start, file.embedding_dim)
    return np.memmap(file.embeddings, dtype, "r", offset, shape).view(np.ndarray)


class _Stretch:
    """Some rows of one file, column by column as they are asked for."""

    def __init__(self, file: EmbeddingFile, start: int, stop: int, columns: dict[str, str]) -> None:
        self._file, self._start, self._stop, self._columns = file, start, stop, columns
        self._bad: np.ndarray | None = None

    def column(self, field: pa.Field) -> pa.Array:
        n = self._stop - self._start
        if field.name == "embedding":
            return self._embedding(field.type)
        if field.name.startswith("failure_"):
            words = {
                "failure_step": FailureStep.ENCODE.value,
                "failure_code": FailureCode.NOT_FINITE.value,
                "failure_detail": "the embedding is all zeros, or holds NaN or infinity",
            }
            return pc.if_else(pa.array(self._missing()), pa.scalar(words[field.name]), pa.scalar(None, pa.string()))
        found = self._from_metadata(field.name) if field.name in ("image_id", "uri", "label", "caption") else None
        if field.name not in ("image_id", "uri"):
            return found if found is not None else pa.nulls(n, field.type)
        numbers = pa.array(np.arange(self._start, self._stop)).cast(pa.string())
        name = (
            Path(self._file.embeddings).as_uri() + "#"
            if field.name == "uri"
            else Path(self._file.embeddings).stem + ":"
        )
        fallback = pc.binary_join_element_wise(name, numbers, "")
        return fallback if found is None else pc.coalesce(found, fallback)

    def _embedding(self, kind: pa.DataType) -> pa.Array:
        rows = _rows(self._file, self._start, self._stop)
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=kind, mask=pa.array(self._missing()))

    def _missing(self) -> np.ndarray:
        """Return which rows have no direction."""
        if self._bad is None:
            rows = _rows(self._file, self._start, self._stop)
            norms = np.concatenate([_square_norms(rows[i : i + 4096]) for i in range(0, len(rows), 4096)])
            self._bad = ~(np.isfinite(norms) & (norms > 0))
        return self._bad

    def _from_metadata(self, what: str) -> pa.Array | None:
        if self._file.metadata is None:
            return None
        schema = pq.read_schema(self._file.metadata)
        chosen = self._columns.get(what)
        fitting = (n for n in _COLUMNS.get(what, ()) if n in schema.names and _is_plain(schema.field(n).type))
        name = chosen or next(fitting, None)
        if name is None:
            return None
        column = _metadata_column(self._file.metadata, name, self._file.stamp)
        return valid_strings(column.slice(self._start, self._stop - self._start)).combine_chunks()


def _is_plain(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind)


def _square_norms(rows: np.ndarray) -> np.ndarray:
    exact = single(rows)
    norms: np.ndarray = np.einsum("ij,ij->i", exact, exact)
    return norms


@lru_cache(maxsize=4)
def _metadata_column(path: str, name: str, stamp: str) -> pa.ChunkedArray:  # noqa: ARG001 - another stamp is another file
    return pq.read_table(path, columns=[name], memory_map=True).column(name)
