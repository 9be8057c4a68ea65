"""A run as large as ImageNet, drawn at random: what comes after a scan needs the embeddings, not the images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve import Run
from clipsieve.classifiers import SoftPrompts, save_classifier
from clipsieve.store import RunManifest
from clipsieve.store.layout import image_schema
from clipsieve.types import EncoderIdentity

__all__ = ["DIM", "N_ROWS", "unit_vectors", "write_head", "write_large_run"]

N_ROWS, DIM = 1_281_167, 768  # the training images of ImageNet, and the width of ViT-L/14
_N_LABELS, _ONE_FAILS_IN = 1000, 997
_BLOCK = 20_000
_IDENTITY = EncoderIdentity("random", "ab" * 32, None, "fp32", DIM)


def unit_vectors(n: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Return n random float32 rows of unit norm."""
    rows = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def write_large_run(folder: Path, part_size: int, n_rows: int = N_ROWS, *, stored: np.ndarray | None = None) -> Run:
    """Write a run of embeddings; by default they are 20,000 random ones again and again. Ids, URIs and labels differ.

    Parts are laid out as a scan lays them out, without its flushing of each to disk. One input in 997 is a failure.
    """
    starts = range(0, n_rows, part_size)
    manifest = RunManifest("folder", "/drawn", part_size, n_rows, len(starts), 0, _IDENTITY, "random", {}, "0")
    run = Run.create(folder, manifest)
    (folder / "images").mkdir()
    if stored is None:
        stored = unit_vectors(_BLOCK, seed=0).astype(np.float16)

    def write(index: int) -> None:
        rows = np.arange(starts[index], min(starts[index] + part_size, n_rows))
        facts = {"inputs": f"{index}", "encoder": _IDENTITY.fingerprint, "options": manifest.options_fingerprint}
        metadata = {f"clipsieve.{name}": text for name, text in facts.items()}
        table = _table(rows, stored).replace_schema_metadata(metadata)
        compression = {name: "none" if name == "embedding" else "zstd" for name in table.schema.names}
        coded = ["label", "format", "failure_step", "failure_code"]
        pq.write_table(table, run.image_part(index), compression=compression, use_dictionary=coded)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(len(starts))))
    return run


def _table(rows: np.ndarray, stored: np.ndarray) -> pa.Table:
    n, failed = len(rows), rows % _ONE_FAILS_IN == 0
    numbers = pa.array(rows)
    ids = [f"{row % _N_LABELS:03d}/{row:08d}.jpg" for row in rows.tolist()]
    broken, none = pa.array(~failed), pa.scalar(None, pa.string())
    embeddings = pa.FixedSizeListArray.from_arrays(
        pa.array(stored[rows % len(stored)].reshape(-1)), type=pa.list_(pa.float16(), DIM), mask=pa.array(failed)
    )
    columns = {
        "image_id": pa.array(ids),
        "uri": pa.array([f"file:///drawn/{name}" for name in ids]),
        "sha256": pa.array([f"{row:064x}" for row in rows.tolist()]),
        "width": pa.array(np.full(n, 500, np.int32)),
        "height": pa.array(np.full(n, 375, np.int32)),
        "format": pa.array(["JPEG"] * n),
        "bytes": numbers,
        "label": pa.array([f"class {row % _N_LABELS}" for row in rows.tolist()]),
        "embedding": embeddings,
    }
    for name, word in (("failure_step", "decode"), ("failure_code", "truncated"), ("failure_detail", "drawn so")):
        columns[name] = pa.compute.if_else(broken, none, pa.scalar(word))
    schema = image_schema(DIM)
    return pa.table([columns.get(field.name, pa.nulls(n, field.type)) for field in schema], schema=schema)


def write_head(path: Path, seed: int = 1) -> None:
    """Write a classifier of two random classes for these embeddings."""
    vectors = unit_vectors(2, seed)
    save_classifier(SoftPrompts(vectors, ("wanted", "unwanted"), (False, True), "random", "ab" * 32), path)
