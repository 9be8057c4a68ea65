"""The embeddings of a run as arrays of numbers, part by part, and in blocks that fit a processor's cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Float32

from clipsieve.store.half import single
from clipsieve.store.layout import DAMAGED, inputs_of, part_facts
from clipsieve.store.pages import PlainRows, read_plain_embeddings
from clipsieve.store.parquet_files import open_buffer
from clipsieve.store.run import Run

__all__ = ["EmbeddedPart", "normed_blocks", "read_embedded_part", "unit_blocks"]

# Rows that are worked on at once, and less than twice as many: enough that a product of matrices is computed the same way as
# for a whole part (a smaller one takes another way, with other last digits), few enough to stay in the cache.
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class EmbeddedPart:
    """One part of the images, its embeddings beside the other columns.

    Attributes
    ----------
    rows : pyarrow.Table
        n rows with the columns that were asked for, in their order.
    values : float16 or float32 array, or PlainRows, of shape (m, d)
        The embeddings that are there, as they are stored: of unit norm but for rounding, where clipsieve wrote them. Plain rows
        stay in their file until a slice asks for them.
    present : bool array of shape (n,)
        Which rows these are.
    inputs : str
        Fingerprint of what the part was made of.
    """

    rows: pa.Table
    values: Float[np.ndarray, "m d"] | PlainRows
    present: Bool[np.ndarray, "n"]
    inputs: str


def read_embedded_part(run: Run, index: int, columns: list[str]) -> EmbeddedPart:
    """Return one part of the images with its embeddings.

    Parameters
    ----------
    run : Run
        With this part.
    index : int
        Of the part.
    columns : list of str
        Besides the embedding.

    Raises
    ------
    RunCorruptError, EncoderMismatchError
        As for `Run.read_images`.
    """
    found = None if run.external is not None else _read_plain(run, index, columns)
    if found is not None:
        return found
    table = run.read_images(index, [*columns, "embedding"])
    column = table.column("embedding")
    present: np.ndarray = column.is_valid().to_numpy()
    stored = column.combine_chunks().drop_null().flatten().to_numpy(zero_copy_only=False)
    values = stored.reshape(-1, column.type.list_size)
    return EmbeddedPart(table.select(columns), values, present, inputs_of(table.schema) or "")


def _read_plain(run: Run, index: int, columns: list[str]) -> EmbeddedPart | None:
    """Return a part that lies as clipsieve writes it, or None: what is wrong, `Run` finds again and says."""
    try:
        with open_buffer(run.image_part(index)) as buffer, pq.ParquetFile(pa.BufferReader(buffer)) as file:
            schema = file.schema_arrow
            if not {*columns, "embedding"} <= set(schema.names) or not run.is_current(part_facts(schema)):
                return None
            embeddings = read_plain_embeddings(memoryview(buffer).cast("B"), schema)
            if embeddings is None:
                return None
            rows = file.read(columns=columns, use_threads=False).select(columns)
    except DAMAGED:
        return None
    return EmbeddedPart(rows, *embeddings, inputs_of(schema) or "")


def unit_blocks(values: Float[np.ndarray, "m d"] | PlainRows) -> Iterator[tuple[int, Float32[np.ndarray, "b d"]]]:
    """Yield embeddings block by block, brought back to unit norm after their rounding, with the place of the first row.

    Each block is the same numbers as those rows of `to_float32`. At least one block comes, so that of no rows something of the
    right shape can be computed.
    """
    for start, block, norms in normed_blocks(values):
        yield start, np.divide(block, norms[:, None], out=block)


def normed_blocks(
    values: Float[np.ndarray, "m d"] | PlainRows,
) -> Iterator[tuple[int, Float32[np.ndarray, "b d"], Float32[np.ndarray, "b"]]]:
    """Yield what `unit_blocks` does, with each row's norm beside it: to divide by it costs as much as to find it."""
    m = values.shape[0]
    edges = np.linspace(0, m, max(1, m // _BLOCK) + 1).astype(int).tolist()
    least = np.finfo(np.float32).tiny
    for start, stop in itertools.pairwise(edges):
        block = single(values[start:stop])
        yield start, block, np.maximum(np.sqrt(np.einsum("ij,ij->i", block, block)), least)
