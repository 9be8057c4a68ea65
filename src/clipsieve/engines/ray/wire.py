"""What goes from one step of a scan on a cluster to the next: a shard as JSON, a batch as a row of a table, rows as bytes.

In a batch, what is known of each input is JSON; pixels and embeddings are the bytes that they are.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from clipsieve.engines.base import Row
from clipsieve.engines.batches import Batch
from clipsieve.types import (
    DecodedImage,
    EmbeddedImage,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
    Shard,
)

__all__ = ["image_ids", "pack_batch", "pack_shard", "pack_table", "table_of", "unpack_batch", "unpack_shard"]


def pack_shard(shard: Shard) -> str:
    """Return a shard as JSON: its members may be bytes of names that Arrow's strings do not hold."""
    return json.dumps(asdict(shard))


def unpack_shard(text: str) -> Shard:
    """Return the shard that was packed."""
    facts = json.loads(text)
    return Shard(**{**facts, "members": tuple(facts["members"])})


def pack_batch(shard: Shard, number: int, batch: Batch) -> pa.Table:
    """Return the table of the batch with this number in a shard."""
    pixels = [row.pixels for row in batch if isinstance(row, DecodedImage)]
    reused = [row.embedding for row in batch if isinstance(row, EmbeddedImage)]
    return pa.table(
        {
            "part": pa.array([shard.index], pa.int64()),
            "number": pa.array([number], pa.int64()),
            "inputs": pa.array([shard.fingerprint], pa.string()),
            "rows": pa.array([json.dumps([_told(row) for row in batch])], pa.large_string()),
            "pixels": _one_cell(np.stack(pixels) if pixels else np.zeros(0, np.uint8)),
            "reused": _one_cell(np.stack(reused) if reused else np.zeros(0, np.float32)),
        }
    )


def _one_cell(values: np.ndarray) -> pa.Array:
    """Return an array of one cell that holds these bytes, without a copy of them."""
    offsets = pa.py_buffer(np.array([0, values.nbytes], dtype=np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(np.ascontiguousarray(values))])


def _told(row: DecodedImage | Row) -> list[Any]:
    ref = row.ref
    told = [ref.image_id, ref.uri, ref.label, ref.caption, ref.metadata]
    facts = None if row.facts is None else list(asdict(row.facts).values())
    failure = list(asdict(row.failure).values()) if isinstance(row, FailedImage) else None
    return [type(row).__name__, told, facts, failure]


def image_ids(row: dict[str, pa.Scalar]) -> list[str]:
    """Return the ids of the images in a packed batch that are to be encoded."""
    return [image_id for kind, (image_id, *_), _, _ in json.loads(row["rows"].as_py()) if kind == DecodedImage.__name__]


def unpack_batch(row: dict[str, pa.Scalar], side_px: int, dim: int) -> Batch:
    """Return a packed batch, whose pixels are squares of `side_px` and whose embeddings have `dim` dimensions."""
    pixels = iter(np.frombuffer(row["pixels"].as_buffer(), np.uint8).reshape(-1, side_px, side_px, 3))
    reused = iter(np.frombuffer(row["reused"].as_buffer(), np.float32).reshape(-1, dim))
    found: list[DecodedImage | Row] = []
    for kind, (image_id, uri, label, caption, metadata), facts, failure in json.loads(row["rows"].as_py()):
        ref = ImageRef(image_id, uri, label, caption, b"", metadata)
        known = None if facts is None else FileFacts(*facts)
        if failure is not None:
            step, code, detail = failure
            found.append(FailedImage(ref, known, Failure(FailureStep(step), FailureCode(code), detail)))
        elif known is not None and kind == "DecodedImage":
            found.append(DecodedImage(ref, known, next(pixels)))
        elif known is not None:
            found.append(EmbeddedImage(ref, known, next(reused), is_reused=True))
    return found


def pack_table(table: pa.Table) -> bytes:
    """Return rows of the run as a stream of Arrow's."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_of(packed: pa.Scalar) -> pa.Table:
    """Return the rows that were packed."""
    with pa.ipc.open_stream(packed.as_buffer()) as reader:
        return reader.read_all()
