"""The engine of one machine: decoding in worker processes, the encoder in this one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from clipsieve.cores import n_cores
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine, Row
from clipsieve.engines.options import ScanOptions
from clipsieve.engines.pool import DecodePool, until_failure
from clipsieve.errors import ClipsieveError, SourceError
from clipsieve.sources import Source
from clipsieve.store import StoredEmbeddings
from clipsieve.types import DecodedImage, EmbeddedImage, FailedImage, Failure, FailureCode, FailureStep, ImageRef, Shard

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Uses the cores of this machine.

    As many batches are encoded at once as the encoder takes, each on a core of its own, and there are as many decoding
    processes as cores. Both have more to do than there are cores, and wait only when the other side is behind: so no core is idle
    while there is work of either kind, whichever of them is the dearer one.

    Parameters
    ----------
    workers : int, optional
        Decoding processes, >= 1; one for each core by default.
    batch_size : int, optional
        Images in one call of the encoder; its own choice by default. Another number changes embeddings by rounding only, about
        1e-7.
    """

    def __init__(self, *, workers: int | None = None, batch_size: int | None = None) -> None:
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
        """Decode ahead of the encoder, and encode ahead of what is written, across the borders of shards; see `Engine.embed`."""
        ahead, todo = itertools.tee(shards)
        n_workers = self.workers or n_cores()
        encoder.expect(batch_size=self.batch_size)
        batch_size = self.batch_size or encoder.best_batch_size
        pool = DecodePool(
            n_workers,
            encoder.recipe,
            options.limits,
            window=2 * batch_size + n_workers,  # while batches are encoded, the next ones are decoded
            blocked=options.block_list,
            known=known,
            exact=options.exact,
        )
        with pool, _threads(encoder.n_parallel) as threads:
            batches = _batches(pool.map(_read_all(source, ahead)), todo, batch_size)
            rows: list[Row] = []
            for shard, encoded in _encode_ahead(batches, encoder, threads):
                on_images(len(encoded))
                rows += encoded
                if len(rows) == shard.n_images:
                    yield shard, rows
                    rows = []


def _batches(
    decoded: Iterator[DecodedImage | Row], shards: Iterable[Shard], batch_size: int
) -> Iterator[tuple[Shard, list[DecodedImage | Row]]]:
    # No batch reaches across shards: runtimes may round a little differently in batches of other lengths, and a shard must
    # give the same bytes whether the one before it was done in the same run or not.
    for shard in shards:
        for start in range(0, shard.n_images, batch_size):
            yield shard, list(itertools.islice(decoded, min(batch_size, shard.n_images - start)))


def _encode_ahead(
    batches: Iterator[tuple[Shard, list[DecodedImage | Row]]], encoder: Encoder, threads: ThreadPoolExecutor
) -> Iterator[tuple[Shard, list[Row]]]:
    """Yield the batches in order, encoded; others are under way meanwhile."""
    under_way: deque[tuple[Shard, Future[list[Row]]]] = deque()
    failures: list[ClipsieveError] = []
    for shard, batch in until_failure(batches, failures):
        under_way.append((shard, threads.submit(_encode, batch, encoder)))
        # One more for each thread than it works at: it takes the next one at once, whichever batch is done first.
        if len(under_way) > 2 * encoder.n_parallel:
            first, rows = under_way.popleft()
            yield first, rows.result()
    while under_way:
        first, rows = under_way.popleft()
        yield first, rows.result()
    for failure in failures:
        raise failure


def _encode(batch: Sequence[DecodedImage | Row], encoder: Encoder) -> list[Row]:
    images = [image for image in batch if isinstance(image, DecodedImage)]
    embeddings = iter(encoder.encode_images(np.stack([image.pixels for image in images])) if images else ())
    return [_embedded(row, next(embeddings)) if isinstance(row, DecodedImage) else row for row in batch]


@contextmanager
def _threads(n: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads for the encoder.

    After an error or Ctrl-C, what has not begun is not begun, and nobody waits for what has: a batch may take half a minute.
    """
    threads = ThreadPoolExecutor(n, thread_name_prefix="encode")
    try:
        yield threads
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()


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
