"""Embeddings that somebody else has computed: `.npy` files and their metadata with the rows that are chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from clipsieve.errors import RunCorruptError, SourceError
from clipsieve.evaluation.operating_points import Decision
from clipsieve.outputs.export.base import Places, Unit, Writer, Written
from clipsieve.outputs.export.destination import Destination
from clipsieve.outputs.export.parquet_rows import RowGroups, options_like
from clipsieve.store import EmbeddingFile, ExternalEmbeddings
from clipsieve.types import Shard

__all__ = ["EmbeddingsWriter", "plan_embeddings"]

BLOCK_BYTES = 16 * 1024**2
BATCH_ROWS = 65_536


def plan_embeddings(external: ExternalEmbeddings) -> tuple[Shard, ...]:
    """Return one shard for each part of a run of embeddings.

    Its members are the array's file name, the first row, and the one after the last; its fingerprint is the one that the
    part's rows carry as `clipsieve.inputs`. Arrays without rows have no part.
    """
    return tuple(
        Shard(index, (Path(file.embeddings).name, str(start), str(stop)), external.fingerprint(index), stop - start)
        for index, (file, start, stop) in enumerate(external.parts)
    )


class EmbeddingsWriter(Writer):
    """Writes arrays of the rows that are chosen, and the same rows of their metadata.

    Each array keeps its file's name and lies in `img_emb/` if it did; its metadata keeps its name and lies in `metadata/`. So the
    layout of clip-retrieval stays as it is. Rows are copied byte for byte, in order, of the same number type; metadata keeps
    schema, columns and compression. Without a column of ids, a row is known by its number, which is another one in the
    result. Other files, such as embeddings of texts, are not taken along.

    An array of which nothing is left: with metadata, neither file is written, since the library embedding-reader passes over
    arrays without rows and not over their metadata, and would join all that follows with the rows of others. Without metadata,
    the place of what is kept has an array of 0 rows, and the others nothing.

    Parameters
    ----------
    external : ExternalEmbeddings
        Of the run.
    """

    kind: ClassVar[str] = "embeddings"

    def __init__(self, external: ExternalEmbeddings) -> None:
        self._external = external
        self._files = {Path(file.embeddings).name: file for file in external.files}

    def unit_of(self, shard: Shard) -> str:
        """Return the array's file name."""
        return shard.members[0]

    def write(self, unit: Unit, places: Places) -> Written:
        """Write the rows of one array; see `Writer.write`."""
        file, sizes = self._files[unit.name], list[int]()
        names: dict[int, str] = {}
        for decision, place in places.items():
            chosen = unit.codes == decision
            if chosen.any():
                sizes += self._write(file, place, chosen)
                names |= dict.fromkeys(np.flatnonzero(chosen).tolist(), _array_name(file))
            elif decision is Decision.KEEP and file.metadata is None:
                sizes += self._write(file, place, chosen)
        return Written(len(sizes), sum(sizes), names)

    def finish(self, places: Places) -> Iterator[Written]:
        """Write the arrays that had no rows from the start."""
        for file in self._files.values():
            if not file.n_rows and file.metadata is None and Decision.KEEP in places:
                sizes = self._write(file, places[Decision.KEEP], np.zeros(0, dtype=bool))
                yield Written(len(sizes), sum(sizes))

    def _write(self, file: EmbeddingFile, place: Destination, chosen: Bool[np.ndarray, "n"]) -> list[int]:
        """Write the files that are not there yet, and return the sizes of all."""
        names = [_array_name(file)]
        if place.size(names[0]) is None:
            self._write_array(file, place, chosen)
        if file.metadata is not None:
            names.append(f"metadata/{Path(file.metadata).name}")
            if place.size(names[1]) is None:
                self._write_metadata(file, place, names[1], chosen)
        return [place.size(name) or 0 for name in names]

    def _write_array(self, file: EmbeddingFile, place: Destination, chosen: Bool[np.ndarray, "n"]) -> None:
        dtype = np.dtype(file.dtype)
        shape = (int(np.count_nonzero(chosen)), file.embedding_dim)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        n_block = max(1, BLOCK_BYTES // (file.embedding_dim * dtype.itemsize))
        with self._unchanged(file), place.writer(_array_name(file)) as out:
            np.lib.format.write_array_header_1_0(out, header)
            for start in range(0, len(chosen), n_block):
                stop = min(start + n_block, len(chosen))
                out.write(self._external.rows(file, start, stop)[chosen[start:stop]].tobytes())
            self._external.check_unchanged(file)

    def _write_metadata(
        self, file: EmbeddingFile, place: Destination, name: str, chosen: Bool[np.ndarray, "n"]
    ) -> None:
        with self._unchanged(file), _opened(str(file.metadata)) as table, place.writer(name) as out:
            with pq.ParquetWriter(out, table.schema_arrow, **options_like(table)) as writer:
                _copy_rows(table, str(file.metadata), chosen, RowGroups(writer))
            self._external.check_unchanged(file)

    @contextmanager
    def _unchanged(self, file: EmbeddingFile) -> Iterator[None]:
        """Make sure that a file is what was scanned; the block may ask again, before what it wrote counts."""
        try:
            self._external.check_unchanged(file)
            yield
        except RunCorruptError as error:
            raise SourceError(
                error.what,
                expected=error.expected,
                found=error.found,
                state="every file that was written is whole",
                hint="scan the embeddings again into the same run; then score, and export again",
            ) from error


def _array_name(file: EmbeddingFile) -> str:
    path = Path(file.embeddings)
    return f"img_emb/{path.name}" if path.parent.name == "img_emb" else path.name


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    with _readable(path):
        table = pq.ParquetFile(path)
    with table:
        yield table


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        words = " ".join(str(error).split())[:200]
        raise SourceError(
            f"cannot read `{path}`: {words}",
            state="every file that was written is whole",
            hint="mend or fetch the file, and scan the embeddings again into the same run",
        ) from error


def _copy_rows(table: pq.ParquetFile, path: str, chosen: Bool[np.ndarray, "n"], rows: RowGroups) -> None:
    """Copy the rows that are chosen, group by group."""
    start = 0
    for group in range(table.num_row_groups):
        batches = table.iter_batches(BATCH_ROWS, row_groups=[group])
        while (batch := _next(batches, path)) is not None:
            rows.add(batch, chosen[start : start + batch.num_rows])
            start += batch.num_rows
        rows.flush()


def _next(batches: Iterator[pa.RecordBatch], path: str) -> pa.RecordBatch | None:
    with _readable(path):  # what goes wrong while it is written is no fault of the source
        return next(batches, None)
