"""An encoder and an engine on a cluster, ready for a scan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clipsieve.encoders import EncoderChoice
from clipsieve.encoders.load import backend_of
from clipsieve.engines.ray.cluster import RayCluster
from clipsieve.engines.ray.encoder import RayEncoder
from clipsieve.engines.ray.engine import RayEngine
from clipsieve.engines.ray.layout import Wanted, lay_out
from clipsieve.errors import ModelError, UsageError

__all__ = ["open_ray"]


@contextmanager
def open_ray(
    choice: EncoderChoice, address: str | None = None, wanted: Wanted | None = None
) -> Iterator[tuple[RayEncoder, RayEngine]]:
    """Connect to a cluster, lay a scan out over it, and load the encoder on one of its workers.

    >>> with open_ray(EncoderChoice("immich-app/ViT-B-32__openai"), "auto") as (encoder, engine):  # doctest: +SKIP
    ...     scan(open_source("s3://bucket/images"), "s3://bucket/run", encoder, engine=engine)

    Parameters
    ----------
    choice : EncoderChoice
        Which encoder. Its device is "cpu", "cuda" or "auto"; which GPU an encoder gets is for the cluster to say. "auto" means
        GPUs if the backend is torch and there are some. The number of threads is the layout's.
    address : str, optional
        As for `RayCluster`.
    wanted : Wanted, optional
        What is asked of the cluster.

    Raises
    ------
    MissingExtraError, EngineError
        As for `RayCluster`.
    UsageError
        If the cluster does not have what is asked, or the device is one machine's.
    clipsieve.errors.ClipsieveError
        What loading the model raises on the worker.
    """
    wanted = wanted or Wanted()
    with RayCluster(address) as cluster:
        nodes = cluster.nodes
        on_gpu = _is_on_gpu(choice, wanted, has_gpus=any(node.gpus for node in nodes))
        layout = lay_out(nodes, wanted, on_gpu=on_gpu)
        model = str(Path(choice.model).absolute()) if Path(choice.model).is_dir() else choice.model
        there = replace(choice, model=model, device="cuda" if on_gpu else "cpu", threads=layout.threads)
        encoder = RayEncoder(there, layout)
        with encoder:
            yield encoder, RayEngine(cluster, batch_size=choice.batch_size)


def _is_on_gpu(choice: EncoderChoice, wanted: Wanted, *, has_gpus: bool) -> bool:
    if choice.device == "auto":
        if wanted.gpus_per_encoder or not has_gpus:
            return bool(wanted.gpus_per_encoder)
        with contextlib.suppress(ModelError):  # not on this machine: then what was said decides
            return backend_of(choice.model, choice.backend, "auto", choice.precision) == "torch"
        return choice.backend == "torch"
    if choice.device not in ("cpu", "cuda"):
        raise UsageError(
            f"`{choice.device}` is a device of one machine",
            expected="auto, cpu or cuda",
            hint="which GPU an encoder gets is for the cluster to say",
        )
    return choice.device == "cuda"
