"""Names, schemas and records of the run folder: pure. `docs/format.md` is their specification."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32

from clipsieve.store.half import single
from clipsieve.types import EmbeddedImage, FailedImage

__all__ = [
    "DAMAGED",
    "FORMAT_VERSION",
    "SCORE_SCHEMA",
    "image_schema",
    "image_table",
    "inputs_of",
    "part_facts",
    "part_name",
    "score_table",
    "to_float32",
    "valid_score_name",
    "valid_strings",
    "valid_text",
]

FORMAT_VERSION = 1

SCORE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("probability", pa.float32()),
        pa.field("logits", pa.list_(pa.float32())),
    ]
)


# What reading a damaged part raises: a name in it that is no UTF-8 is a ValueError.
DAMAGED = (OSError, ValueError, pa.ArrowException)

MAX_TEXT_BYTES = 2**31 - 1  # of a column in one array


def part_facts(schema: pa.Schema) -> dict[str, str]:
    """Return what a part says of itself: its format, and the fingerprints of what it was made from."""
    return {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if k.startswith(b"clipsieve.")}


def inputs_of(schema: pa.Schema) -> str | None:
    """Return the fingerprint of what a part was made of."""
    return part_facts(schema).get("clipsieve.inputs")


def part_name(index: int) -> str:
    """Return the file name of a part."""
    return f"part-{index:05d}.parquet"


def valid_score_name(name: str) -> bool:
    """Return whether a name can be a folder below `scores/` on every system, and cannot lead out of it."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None


def image_schema(embedding_dim: int, number_type: pa.DataType | None = None) -> pa.Schema:
    """Return the columns of `images/part-*.parquet`; embeddings that lie elsewhere may be of another type of number."""
    text, number = pa.string(), pa.int64()
    return pa.schema(
        [
            pa.field("image_id", text, nullable=False),
            pa.field("uri", text, nullable=False),
            pa.field("sha256", text),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("format", text),
            pa.field("bytes", number),
            pa.field("label", text),
            pa.field("caption", text),
            pa.field("metadata", text),
            pa.field("embedding", pa.list_(number_type or pa.float16(), embedding_dim)),
            pa.field("failure_step", text),
            pa.field("failure_code", text),
            pa.field("failure_detail", text),
        ]
    )


def image_table(
    rows: Sequence[EmbeddedImage | FailedImage], embedding_dim: int, *, inputs: str, encoder: str, options: str
) -> pa.Table:
    """Return the rows of one part.

    Parameters
    ----------
    rows : sequence of EmbeddedImage or FailedImage
        In source order.
    embedding_dim : int
        d.
    inputs, encoder, options : str
        The fingerprints of the shard, of the encoder and of the options; they travel in the table's metadata.
    """
    metadata = {
        "clipsieve.format": str(FORMAT_VERSION),
        "clipsieve.inputs": inputs,
        "clipsieve.encoder": encoder,
        "clipsieve.options": options,
    }
    schema = image_schema(embedding_dim).with_metadata(metadata)
    columns: dict[str, list[Any]] = {name: [] for name in schema.names if name != "embedding"}
    for row in rows:
        for name, value in _fields(row).items():
            columns[name].append(valid_text(value) if isinstance(value, str) else value)
    arrays = [
        _embedding_array(rows, embedding_dim) if field.name == "embedding" else _array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Return texts or whole numbers, None among them, as an array.

    From buffers, as all arrays here: of other values, pyarrow asks first whether they are of pandas, and to know it loads that
    library where it is installed, which takes longer than a small scan.
    """
    present = np.array([value is not None for value in values], dtype=bool)
    if not pa.types.is_string(kind):
        numbers = np.array([value or 0 for value in values], dtype=kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(values), [_valid(present), pa.py_buffer(numbers)])
    texts = [b"" if value is None else value.encode() for value in values]
    if sum(map(len, texts)) > MAX_TEXT_BYTES:  # more than one array holds
        return pa.array(values, kind)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return pa.Array.from_buffers(
        kind, len(values), [_valid(present), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    )


def _valid(present: Bool[np.ndarray, "n"]) -> pa.Buffer | None:
    return None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))


def valid_text(text: str) -> str:
    r"""Return a text as UTF-8 can hold it: what it cannot, such as half a surrogate pair, as `\udcff`."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def valid_strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as strings; bytes that are no UTF-8, which other writers let through, become replacement marks."""
    try:
        strings = column.cast(pa.string())
        strings.validate(full=True)
    except pa.ArrowInvalid:
        texts = [value and value.decode("utf-8", errors="replace") for value in column.cast(pa.binary()).to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return strings


def _fields(row: EmbeddedImage | FailedImage) -> dict[str, Any]:
    facts = row.facts
    failure = row.failure if isinstance(row, FailedImage) else None
    return {
        "image_id": row.ref.image_id,
        "uri": row.ref.uri,
        "sha256": facts.sha256 if facts else None,
        "width": facts.width if facts else None,
        "height": facts.height if facts else None,
        "format": facts.format if facts else None,
        "bytes": facts.n_bytes if facts else None,
        "label": row.ref.label,
        "caption": row.ref.caption,
        "metadata": row.ref.metadata,
        "failure_step": failure.step.value if failure else None,
        "failure_code": failure.code.value if failure else None,
        "failure_detail": failure.detail if failure else None,
    }


def _embedding_array(rows: Sequence[EmbeddedImage | FailedImage], embedding_dim: int) -> pa.FixedSizeListArray:
    values = np.zeros((len(rows), embedding_dim), dtype=np.float16)
    missing = np.ones(len(rows), dtype=bool)
    for index, row in enumerate(rows):
        if isinstance(row, EmbeddedImage):
            values[index] = row.embedding.astype(np.float16)
            missing[index] = False
    numbers = pa.Array.from_buffers(pa.float16(), values.size, [None, pa.py_buffer(values.reshape(-1))])
    kind = pa.list_(pa.float16(), embedding_dim)
    return pa.Array.from_buffers(kind, len(rows), [_valid(~missing)], children=[numbers])


def to_float32(column: pa.ChunkedArray) -> Float32[np.ndarray, "n d"]:
    """Return the embeddings that are not null, as an array, brought back to unit norm after their rounding to float16."""
    present = column.combine_chunks().drop_null()
    width = column.type.list_size
    values = single(present.flatten().to_numpy(zero_copy_only=False).reshape(-1, width))
    norms = np.sqrt(np.einsum("ij,ij->i", values, values))
    values /= np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    return values


def score_table(
    image_ids: pa.Array,
    present: Bool[np.ndarray, "n"],
    probability: Float32[np.ndarray, "m"],
    logits: Float32[np.ndarray, "m k"],
    *,
    inputs: str,
) -> pa.Table:
    """Return the scores of one part, a row for each row of the images' part, null where there is no embedding.

    Parameters
    ----------
    image_ids : string array of length n
        The part's ids.
    present : bool array of shape (n,)
        Which rows have an embedding; m of them do.
    probability : float32 array of shape (m,)
        Of the unwanted class.
    logits : float32 array of shape (m, k)
        One for each class.
    inputs : str
        Fingerprint of what was scored.
    """
    n, offsets = len(present), np.zeros(len(present) + 1, dtype=np.int32)
    np.cumsum(present * logits.shape[1], out=offsets[1:])
    spread = np.zeros(n, dtype=np.float32)
    spread[present] = probability
    valid = pa.py_buffer(np.packbits(present, bitorder="little"))
    chances = pa.Array.from_buffers(pa.float32(), n, [valid, pa.py_buffer(spread)])
    numbers = np.ascontiguousarray(logits.reshape(-1), dtype=np.float32)
    leaves = pa.Array.from_buffers(pa.float32(), len(numbers), [None, pa.py_buffer(numbers)])
    kind = SCORE_SCHEMA.field("logits").type
    lists = pa.Array.from_buffers(kind, n, [valid, pa.py_buffer(offsets)], children=[leaves])
    metadata = {"clipsieve.format": str(FORMAT_VERSION), "clipsieve.inputs": inputs}
    columns = [image_ids, chances, lists]
    return pa.Table.from_arrays(columns, schema=SCORE_SCHEMA.with_metadata(metadata))
