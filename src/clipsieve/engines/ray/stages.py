"""What the workers of a cluster do: decode shards in batches, encode batches. Plain functions of tables.

A row is one batch, so that it stays whole whatever Ray makes of blocks: the encoder gets the same batches as on one machine, and
gives the same bytes.
"""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from clipsieve._version import __version__
from clipsieve.encoders import Encoder
from clipsieve.encoders.load import EncoderChoice
from clipsieve.engines.base import tabulate
from clipsieve.engines.batches import decode_batches, encode_batch, open_pool
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.pool import DecodePool
from clipsieve.engines.ray.attempts import Attempts, is_started_anew, worker_id
from clipsieve.engines.ray.wire import image_ids, pack_batch, pack_table, unpack_batch, unpack_shard
from clipsieve.errors import EncoderMismatchError, EngineError, SourceError
from clipsieve.remote.connect import is_url
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import EncoderIdentity, Preprocessing

__all__ = ["Decoding", "EncodeBatches", "Encoding", "decode_shards"]


@dataclass(frozen=True, slots=True, eq=False)
class Decoding:
    """What a worker needs to decode shards.

    Attributes
    ----------
    token : str
        Tells one scan from another: what a worker keeps serves as long as the scan goes on.
    source, recipe, options, known, batch_size
        As `decode_batches` and `open_pool` take them.
    attempts : Attempts
        Where each shard that is begun is counted.
    version : str
        Of the clipsieve that began.
    """

    token: str
    source: Source
    recipe: Preprocessing
    options: ScanOptions
    known: StoredEmbeddings
    batch_size: int
    attempts: Attempts
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
    attempts : Attempts
        Where each batch that is begun is counted.
    version : str
        Of the clipsieve that began.
    """

    choice: EncoderChoice
    identity: EncoderIdentity
    n_images: int | None
    batch_size: int
    options_fingerprint: str
    attempts: Attempts
    version: str = __version__


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
    for text in itertools.chain.from_iterable(shards.column("shards").to_pylist()):
        shard = unpack_shard(text)
        with told.attempts.over(f"decode {shard.index}", partial("part {}, being decoded".format, shard.index)):
            kept = _kept_for(told)
            batches = decode_batches(kept.pool, kept.source, [shard], told.batch_size)
            for number, (_, batch) in enumerate(batches):
                yield pack_batch(shard, number, batch)


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
        self._is_new = not is_started_anew()
        self._suspects = frozenset() if self._is_new else told.attempts.suspects()
        self._alone = threading.Lock()
        self._loaded: Encoder | None = None

    @property
    def _encoder(self) -> Encoder:
        with self._turn:  # several batches come at once
            if self._loaded is None:
                with self._attempt(f"load {worker_id()}", lambda: "the model, being loaded"):
                    self._loaded = _load(self._told)
            return self._loaded

    def __call__(self, batches: pa.Table) -> pa.Table:
        """Return for each batch the rows of the run that it became.

        Raises
        ------
        EncoderMismatchError
            If the model on this machine is another one than where the scan was begun.
        """
        done, encoder = [], self._encoder
        for place in range(batches.num_rows):
            row = {name: batches.column(name)[place] for name in batches.column_names}
            part, number = row["part"].as_py(), row["number"].as_py()
            with self._attempt(f"encode {part} {number}", partial(_named, row)):
                table, n_images, n_reused = self._rows(row, encoder)
            done.append((part, number, n_images, n_reused, pack_table(table)))
        columns = list(zip(*done, strict=True)) or [()] * 5
        kinds = [pa.int64(), pa.int64(), pa.int64(), pa.int64(), pa.large_binary()]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        return pa.table(arrays, names=["part", "number", "n_images", "n_reused", "table"])

    @contextmanager
    def _attempt(self, work: str, what: Callable[[], str]) -> Iterator[None]:
        """Count an attempt; what may have ended this worker before is encoded alone, so that nothing else ends with it again."""
        turn = self._alone if work in self._suspects else nullcontext()
        with turn, nullcontext() if self._is_new else self._told.attempts.over(work, what):
            yield

    def _rows(self, row: dict[str, pa.Scalar], encoder: Encoder) -> tuple[pa.Table, int, int]:
        identity = self._told.identity
        rows = encode_batch(unpack_batch(row, encoder.recipe.size_px, identity.embedding_dim), encoder)
        table, n_reused = tabulate(rows, identity, self._told.options_fingerprint, row["inputs"].as_py())
        return table, len(rows), n_reused


def _named(row: dict[str, pa.Scalar]) -> str:
    found = image_ids(row)
    named = f"`{found[0]}`" if found else "what has no pixels"
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{named}{more} of part {row['part'].as_py()}, being encoded"


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
