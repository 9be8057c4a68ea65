"""The engine of one machine: decoding in worker processes, the encoder in this one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator

import numpy as np

from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine, Row
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.pool import DecodePool
from clipsieve.errors import SourceError
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import DecodedImage, EmbeddedImage, FailedImage, Failure, FailureCode, FailureStep, ImageRef, Shard

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Uses the cores of this machine.

    Parameters
    ----------
    workers : int, optional
        Decoding processes, >= 1; one for each core by default.
    batch_size : int, default=32
        Images in one call of the encoder. Another number changes embeddings by rounding only, about 1e-7.
    """

    def __init__(self, *, workers: int | None = None, batch_size: int = 32) -> None:
        self.workers = workers
        self.batch_size = batch_size

    def embed(
        self,
        source: Source,
        shards: Iterable[Shard],
        encoder: Encoder,
        options: ScanOptions,
        on_images: Callable[[int], object],
        known: StoredEmbeddings,
    ) -> Generator[tuple[Shard, list[Row]], None, None]:
        """Decode ahead of the encoder, across the borders of shards; see `Engine.embed`."""
        ahead, todo = itertools.tee(shards)
        n_workers = self.workers or len(os.sched_getaffinity(0))
        # Two batches on their way: while one is encoded, the next one is decoded.
        window = 2 * self.batch_size + n_workers
        blocked = options.block_list
        with DecodePool(n_workers, encoder.recipe, options.limits, window=window, blocked=blocked, known=known) as pool:
            decoded = pool.map(_read_all(source, ahead))
            for shard in todo:
                members = itertools.islice(decoded, shard.n_images)
                yield shard, list(self._encode(members, encoder, on_images))

    def _encode(
        self, decoded: Iterator[DecodedImage | Row], encoder: Encoder, on_images: Callable[[int], object]
    ) -> Iterator[Row]:
        # No batch reaches across shards: runtimes round a little differently in batches of other lengths, and a shard must
        # give the same bytes whether the one before it was done in the same run or not.
        while batch := list(itertools.islice(decoded, self.batch_size)):
            images = [image for image in batch if isinstance(image, DecodedImage)]
            embeddings = iter(encoder.encode_images(np.stack([image.pixels for image in images])) if images else ())
            on_images(len(batch))
            yield from (_embedded(row, next(embeddings)) if isinstance(row, DecodedImage) else row for row in batch)


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


def _embedded(image: DecodedImage, embedding: np.ndarray) -> Row:
    if not np.isfinite(embedding).all():
        failure = Failure(FailureStep.ENCODE, FailureCode.NOT_FINITE, "the encoder gave NaN or infinity")
        return FailedImage(image.ref, image.facts, failure)
    return EmbeddedImage(image.ref, image.facts, embedding)
