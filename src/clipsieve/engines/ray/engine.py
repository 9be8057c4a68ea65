"""The engine of a cluster: shards are decoded by tasks and encoded by a pool of actors, through Ray Data."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from clipsieve.engines.base import Engine, FinishedShard, Item, Result, ScanJob
from clipsieve.engines.ray.attempts import Attempts, counted
from clipsieve.engines.ray.cluster import RayCluster, in_words
from clipsieve.engines.ray.encoder import RayEncoder
from clipsieve.engines.ray.layout import Layout, block_bytes
from clipsieve.engines.ray.stages import Decoding, EncodeBatches, Encoding, decode_shards
from clipsieve.engines.ray.wire import pack_shard, table_of
from clipsieve.errors import EngineError, UsageError
from clipsieve.types import Shard

__all__ = ["RayEngine"]

GIVE_UP_S = 60.0
MOST_TASKS = 20_000
TASKS_OF_A_DECODER = 4  # at least, so that all are at work to the end
RETRIES = 20  # of what was lost with its worker: a machine may die, and what ends every worker must not go on for ever
# Shards that one process decodes; what the library of a source lets grow is gone with it. It is also what tells the two steps
# apart: Ray makes one of steps that are given the same, and then a model waits in memory while its process decodes.
CALLS_OF_A_PROCESS = 1000


class RayEngine(Engine):
    """Uses the machines of a Ray cluster.

    What the encoder sees is what it sees on one machine, batch by batch, so that parts are the same byte for byte where the
    processors are of the same kind. A machine that fails costs the batches that were on it: others make them anew. This process
    gets the embeddings and writes the parts.

    Parameters
    ----------
    cluster : RayCluster
        Connected.
    batch_size : int, optional
        Images in one call of the encoder; its own choice by default.
    """

    def __init__(self, cluster: RayCluster, *, batch_size: int | None = None) -> None:
        self.cluster = cluster
        self.batch_size = batch_size

    def embed(
        self, job: ScanJob, shards: Iterable[Shard], on_images: Callable[[int], object]
    ) -> Generator[FinishedShard, None, None]:
        """Yield each shard when its last batch has come; see `Engine.embed`."""
        if not isinstance(job.encoder, RayEncoder):
            raise UsageError("a scan on a cluster needs an encoder that is loaded there", expected="a RayEncoder")
        todo = {shard.index: shard for shard in shards}
        n_parts = len(todo)
        batch_size = self.batch_size or job.encoder.best_batch_size
        job.encoder.close()  # its GPU is for the pool
        arriving: dict[int, dict[int, tuple[pa.Table, int]]] = {}
        settings = _settings(job.encoder.layout, block_bytes(job.encoder.recipe.size_px, batch_size))
        with in_words(), settings, counted() as attempts:
            for row in self._encoded(job, list(todo.values()), batch_size, attempts):
                part, number = row["part"].as_py(), row["number"].as_py()
                batches = arriving.setdefault(part, {})
                if part not in todo or number in batches:
                    continue  # twice, of a worker that died when it had given it away
                on_images(row["n_images"].as_py())
                batches[number] = table_of(row["table"]), row["n_reused"].as_py()
                if len(batches) == -(-todo[part].n_images // batch_size):
                    yield _joined(todo.pop(part), arriving.pop(part))
        if todo:
            raise EngineError(
                f"the cluster has lost {len(todo):,} of {n_parts:,} parts without saying why",
                state="the others are whole and kept",
                hint="the same command again goes on; Ray's logs may say more",
            )

    def _encoded(
        self, job: ScanJob, shards: list[Shard], batch_size: int, attempts: Attempts
    ) -> Iterator[dict[str, pa.Scalar]]:
        import ray.data

        assert isinstance(job.encoder, RayEncoder)  # noqa: S101 - `embed` has seen to it
        encoder, layout = job.encoder, job.encoder.layout
        decoding = Decoding(uuid.uuid4().hex, job.source, encoder.recipe, job.options, job.known, batch_size, attempts)
        encoding = Encoding(
            encoder.choice, encoder.identity, encoder.n_images, batch_size, job.options_fingerprint, attempts
        )
        listed = [{"shards": [pack_shard(shard) for shard in group]} for group in _grouped(shards, layout.n_decoders)]
        calls = encoder.n_parallel + 1  # one more than it works at, which it takes up at once
        blocks = (
            ray.data.from_items(listed, override_num_blocks=len(listed))
            .map_batches(
                decode_shards,  # type: ignore[arg-type]  # Ray's protocol leaves out the other arguments
                fn_kwargs={"told": decoding},
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=layout.cpus_per_decoder,
                max_calls=CALLS_OF_A_PROCESS,
            )
            .map_batches(
                EncodeBatches,
                fn_constructor_args=(encoding,),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=layout.cpus_per_encoder,
                num_gpus=layout.gpus_per_encoder or None,
                compute=ray.data.ActorPoolStrategy(
                    size=layout.encoders, max_concurrent_calls_per_actor=calls, enable_true_multi_threading=True
                ),
            )
        )
        found: Iterator[Any] = iter(blocks.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        for block in found:
            for place in range(block.num_rows):
                yield {name: block.column(name)[place] for name in block.column_names}

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Work on several items at once, each on a CPU of the cluster; see `Engine.map`."""
        import ray

        do: Any = ray.remote(work_on).options(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)
        shared = ray.put(work)
        most = 2 * max(1, int(sum(node.cpus for node in self.cluster.nodes)))
        under_way: deque[Any] = deque()
        try:
            with in_words():
                for item in items:
                    under_way.append(do.remote(shared, item))
                    if len(under_way) >= most:
                        yield ray.get(under_way.popleft())
                while under_way:
                    yield ray.get(under_way.popleft())
        finally:
            _give_up(list(under_way))


def _give_up(under_way: list[Any]) -> None:
    """End what nobody waits for any more, and wait until it has: it must write nothing once this process has let go."""
    import ray

    for reference in under_way:
        ray.cancel(reference)
    if under_way:
        ray.wait(under_way, num_returns=len(under_way), timeout=GIVE_UP_S)


def work_on(work: Callable[[Item], Result], item: Item) -> Result:
    """Do one piece of work, on one core."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return work(item)


def _grouped(shards: list[Shard], n_decoders: int) -> list[list[Shard]]:
    """Return what one task decodes: a shard, or several of one file, which is then opened once and not once for each."""
    most = max(1, len(shards) // (TASKS_OF_A_DECODER * max(1, n_decoders)))
    least = -(-len(shards) // MOST_TASKS)
    groups: list[list[Shard]] = []
    for shard in shards:
        last = groups[-1] if groups else []
        is_same = bool(last) and len(shard.members) > 1 and last[0].members[0] == shard.members[0]
        if last and (len(last) < least or (is_same and len(last) < most)):
            last.append(shard)
        else:
            groups.append([shard])
    return groups


def _joined(shard: Shard, batches: dict[int, tuple[pa.Table, int]]) -> FinishedShard:
    tables = [batches[number][0] for number in sorted(batches)]
    return FinishedShard(shard, pa.concat_tables(tables).combine_chunks(), sum(n for _, n in batches.values()))


@contextmanager
def _settings(layout: Layout, n_bytes: int) -> Iterator[None]:
    """Set how Ray Data works, in this process and for this scan alone."""
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":  # the one for the terminal; the others write Ray's log files
            handler.setLevel(logging.CRITICAL + 1)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = RETRIES  # a machine may die while an encoder starts on it
    context.raise_original_map_exception = True  # ours, for `in_words`; wrapped, it would lose itself on the way here
    context.target_max_block_size = n_bytes
    context.execution_options.preserve_order = False
    if layout.object_store_bytes is not None:
        limits = ray.data.ExecutionResources.for_limits(object_store_memory=layout.object_store_bytes)
        context.execution_options.resource_limits = limits
    with ray.data.DataContext.current(context):
        yield
