"""The two steps between a source and the rows of its parts, a batch at a time: the same in every engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from clipsieve.encoders import Encoder
from clipsieve.engines.base import Row
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.pool import DecodePool
from clipsieve.errors import SourceError
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import (
    DecodedImage,
    EmbeddedImage,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    ImageRef,
    Preprocessing,
    Shard,
)

__all__ = ["Batch", "decode_batches", "encode_batch", "open_pool"]

Batch = Sequence[DecodedImage | Row]


def open_pool(
    recipe: Preprocessing, options: ScanOptions, known: StoredEmbeddings, n_workers: int, batch_size: int
) -> DecodePool:
    """Return decoding processes for a scan, which the caller closes; while batches are encoded, the next ones are decoded."""
    return DecodePool(
        n_workers,
        recipe,
        options.limits,
        window=2 * batch_size + n_workers,
        blocked=options.block_list,
        known=known,
        exact=options.exact,
    )


def decode_batches(
    pool: DecodePool, source: Source, shards: Iterable[Shard], batch_size: int
) -> Iterator[tuple[Shard, Batch]]:
    """Yield the inputs of each shard in batches, decoded; SourceError if a shard gains or loses an input."""
    ahead, todo = itertools.tee(shards)
    decoded = pool.map(_read_all(source, ahead))
    # No batch reaches across shards: runtimes may round a little differently in batches of other lengths, and a shard must
    # give the same bytes whether the one before it was done in the same run or not.
    for shard in todo:
        for start in range(0, shard.n_images, batch_size):
            yield shard, list(itertools.islice(decoded, min(batch_size, shard.n_images - start)))


def encode_batch(batch: Batch, encoder: Encoder) -> list[Row]:
    """Return a row for each input of a batch."""
    images = [image for image in batch if isinstance(image, DecodedImage)]
    embeddings = iter(encoder.encode_images(np.stack([image.pixels for image in images])) if images else ())
    return [_embedded(row, next(embeddings)) if isinstance(row, DecodedImage) else row for row in batch]


def _embedded(image: DecodedImage, embedding: np.ndarray) -> Row:
    if not np.isfinite(embedding).all():
        failure = Failure(FailureStep.ENCODE, FailureCode.NOT_FINITE, "the encoder gave NaN or infinity")
        return FailedImage(image.ref, image.facts, failure)
    return EmbeddedImage(image.ref, image.facts, embedding)


def _read_all(source: Source, shards: Iterable[Shard]) -> Iterator[ImageRef]:
    """Yield the references of all shards, and make sure that none gains or loses a row."""
    for shard in shards:
        n = 0
        for ref in source.read(shard):
            n += 1
            yield ref
        if n != shard.n_images:
            raise SourceError(
                f"the source has changed while it was read: {n:,} images came for part {shard.index}",
                expected=f"{shard.n_images:,}, one for each that was listed",
                state="finished parts are kept",
                hint="give the same command again: it lists the source anew and goes on",
            )
