"""What the workers of a cluster do: decode shards in batches, encode batches. Plain functions of tables; no Ray in here.

A row is one batch, so that it stays whole whatever Ray makes of blocks: the encoder gets the same batches as on one machine, and
gives the same bytes. What is known of each input goes as JSON, pixels and embeddings as the bytes that they are.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipsieve._version import __version__
from clipsieve.encoders import Encoder
from clipsieve.encoders.load import EncoderChoice
from clipsieve.engines.base import Row, tabulate
from clipsieve.engines.batches import Batch, decode_batches, encode_batch, open_pool
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.pool import DecodePool
from clipsieve.errors import EncoderMismatchError, EngineError, SourceError
from clipsieve.remote.connect import is_url
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import (
    DecodedImage,
    EmbeddedImage,
    EncoderIdentity,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
    Preprocessing,
    Shard,
)

__all__ = ["Decoding", "Encoding", "decode_shards", "pack_shard", "table_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Decoding:
    """What a worker needs to decode shards.

    Attributes
    ----------
    token : str
        Tells one scan from another: what a worker keeps serves as long as the scan goes on.
    source, recipe, options, known, batch_size
        As `decode_batches` and `open_pool` take them.
    version : str
        Of the clipsieve that began.
    """

    token: str
    source: Source
    recipe: Preprocessing
    options: ScanOptions
    known: StoredEmbeddings
    batch_size: int
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Encoding:
    """What a worker needs to encode batches.

    Attributes
    ----------
    choice : EncoderChoice
        What to load.
    identity : EncoderIdentity
        What it must turn out to be.
    n_images : int or None
        In the whole run.
    batch_size : int
        The most images in a batch.
    options_fingerprint : str
        Of the run, for its parts to carry.
    version : str
        Of the clipsieve that began.
    """

    choice: EncoderChoice
    identity: EncoderIdentity
    n_images: int | None
    batch_size: int
    options_fingerprint: str
    version: str = __version__


def pack_shard(shard: Shard) -> str:
    """Return a shard as JSON: its members may be bytes of names that Arrow's strings do not hold."""
    return json.dumps(asdict(shard))


def _unpack_shard(text: str) -> Shard:
    facts = json.loads(text)
    return Shard(**{**facts, "members": tuple(facts["members"])})


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a worker keeps from one task to the next: its decoding process, and the source with what it has open."""

    pool: DecodePool
    source: Source


_kept: dict[str, _Kept] = {}


def _kept_for(told: Decoding) -> _Kept:
    if told.token not in _kept:
        for token in list(_kept):
            _kept.pop(token).pool.__exit__(None, None, None)
        check_version(told.version)
        _check_seen(told.source)
        pool = open_pool(told.recipe, told.options, told.known, 1, told.batch_size)
        _kept[told.token] = _Kept(pool, told.source)
    return _kept[told.token]


def check_version(wanted: str) -> None:
    """Raise EngineError if this worker has another clipsieve than the process that began: it might make other bytes."""
    if __version__ != wanted:
        raise EngineError(
            "a machine of the cluster has another version of clipsieve",
            expected=wanted,
            found=f"{__version__} on {socket.gethostname()}",
            state="finished parts are kept",
            hint="install the same version everywhere",
        )


def _check_seen(source: Source) -> None:
    """Raise SourceError if a source on a disk is not on this machine's: every image would be a row of failure."""
    location = source.location
    if is_url(location):
        return
    root = Path(re.split(r"[*?\[{]", location, maxsplit=1)[0])
    if not root.exists() and not (root != Path(location) and root.parent.exists()):
        raise SourceError(
            f"`{location}` is not there on a machine of the cluster",
            found=f"nothing on {socket.gethostname()}",
            state="finished parts are kept",
            hint="a source on a disk must be one that all machines see; or give a URL",
        )


def decode_shards(shards: pa.Table, told: Decoding) -> Iterator[pa.Table]:
    """Yield the batches of some shards, a row each.

    Parameters
    ----------
    shards : pyarrow.Table
        With a column `shards`: lists of texts from `pack_shard`.
    told : Decoding
        What else is needed.
    """
    kept = _kept_for(told)
    for text in itertools.chain.from_iterable(shards.column("shards").to_pylist()):
        shard = _unpack_shard(text)
        batches = decode_batches(kept.pool, kept.source, [shard], told.batch_size)
        for number, (_, batch) in enumerate(batches):
            yield _pack_batch(shard, number, batch)


def _pack_batch(shard: Shard, number: int, batch: Batch) -> pa.Table:
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


def _unpack_batch(row: dict[str, pa.Scalar], side_px: int, dim: int) -> Batch:
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


class EncodeBatches:
    """One loaded encoder, in a process of its own that encodes batch after batch.

    Parameters
    ----------
    told : Encoding
        What to load, at the first batch: of what goes wrong before, Ray only tells that the process has died.
    """

    def __init__(self, told: Encoding) -> None:
        self._told = told
        self._turn = threading.Lock()
        self._loaded: Encoder | None = None

    @property
    def _encoder(self) -> Encoder:
        with self._turn:  # several batches come at once
            if self._loaded is None:
                self._loaded = _load(self._told)
            return self._loaded

    def __call__(self, batches: pa.Table) -> pa.Table:
        """Return for each batch the rows of the run that it became.

        Raises
        ------
        EncoderMismatchError
            If the model on this machine is another one than where the scan was begun.
        """
        encoder, identity = self._encoder, self._told.identity
        side_px, dim = encoder.recipe.size_px, identity.embedding_dim
        done = []
        for place in range(batches.num_rows):
            row = {name: batches.column(name)[place] for name in batches.column_names}
            rows = encode_batch(_unpack_batch(row, side_px, dim), encoder)
            table, n_reused = tabulate(rows, identity, self._told.options_fingerprint, row["inputs"].as_py())
            done.append((row["part"].as_py(), row["number"].as_py(), len(rows), n_reused, _packed(table)))
        columns = list(zip(*done, strict=True)) or [()] * 5
        kinds = [pa.int64(), pa.int64(), pa.int64(), pa.int64(), pa.large_binary()]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        return pa.table(arrays, names=["part", "number", "n_images", "n_reused", "table"])


def _load(told: Encoding) -> Encoder:
    check_version(told.version)
    encoder = told.choice.load()
    if encoder.identity.fingerprint != told.identity.fingerprint:
        raise EncoderMismatchError(
            f"the model `{told.choice.model}` is another one on a machine of the cluster",
            expected=told.identity.description,
            found=encoder.identity.description,
            state="finished parts are kept",
            hint="give every machine the same files, or a folder that all of them see",
        )
    encoder.expect(n_images=told.n_images, batch_size=told.batch_size)
    return encoder


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_of(packed: pa.Scalar) -> pa.Table:
    """Return the rows of a batch that was encoded."""
    with pa.ipc.open_stream(packed.as_buffer()) as reader:
        return reader.read_all()
