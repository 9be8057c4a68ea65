"""The engine of one machine: decoding in worker processes, the encoder in this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from clipsieve.cores import n_cores, one_core_each
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine, FinishedShard, Item, Result, Row, ScanJob
from clipsieve.engines.batches import Batch, decode_batches, encode_batch, open_pool
from clipsieve.engines.pool import until_failure
from clipsieve.errors import ClipsieveError
from clipsieve.types import Shard

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
        self, job: ScanJob, shards: Iterable[Shard], on_images: Callable[[int], object]
    ) -> Generator[FinishedShard, None, None]:
        """Decode ahead of the encoder, and encode ahead of what is written, across the borders of shards; see `Engine.embed`."""
        encoder, n_workers = job.encoder, self.workers or n_cores()
        encoder.expect(batch_size=self.batch_size)
        batch_size = self.batch_size or encoder.best_batch_size
        pool = open_pool(encoder.recipe, job.options, job.known, n_workers, batch_size)
        with pool, _threads(encoder.n_parallel) as threads:
            rows: list[Row] = []
            for shard, encoded in _encode_ahead(decode_batches(pool, job.source, shards, batch_size), encoder, threads):
                on_images(len(encoded))
                rows += encoded
                if len(rows) == shard.n_images:
                    yield job.finish(shard, rows)
                    rows = []

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Work on an item on each core, in threads; see `Engine.map`."""
        with one_core_each() as threads:
            yield from threads.map(work, items)


def _encode_ahead(
    batches: Iterator[tuple[Shard, Batch]], encoder: Encoder, threads: ThreadPoolExecutor
) -> Iterator[tuple[Shard, list[Row]]]:
    """Yield the batches in order, encoded; others are under way meanwhile."""
    under_way: deque[tuple[Shard, Future[list[Row]]]] = deque()
    failures: list[ClipsieveError] = []
    for shard, batch in until_failure(batches, failures):
        under_way.append((shard, threads.submit(encode_batch, batch, encoder)))
        # One more for each thread than it works at: it takes the next one at once, whichever batch is done first.
        if len(under_way) > 2 * encoder.n_parallel:
            first, rows = under_way.popleft()
            yield first, rows.result()
    while under_way:
        first, rows = under_way.popleft()
        yield first, rows.result()
    for failure in failures:
        raise failure


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
