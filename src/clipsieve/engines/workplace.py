"""What an engine and an encoder have to work with, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from clipsieve.cores import n_cores
from clipsieve.encoders import Encoder
from clipsieve.engines.base import Engine
from clipsieve.engines.cost import NodeKind
from clipsieve.engines.encoder_processes import split_devices
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.ray import RayEncoder, RayEngine  # without Ray itself

__all__ = ["Workplace", "workplace_of"]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a scan works.

    Attributes
    ----------
    engine : {"local", "ray"}
        Which kind.
    machines, cores, gpus : int
        In all; of the GPUs those that encoders are given.
    encoders : int
        Loaded models.
    threads : int
        Calls of each at once.
    gpus_per_encoder : float
        0 on CPUs; less than 1 where several share one.
    decoders : int
        Images that are decoded at once.
    probe_tasks, probe_calls : int
        Of decoding, of the encoder: how many are at work at once in a probe.
    probe_devices : int
        How many cores or GPUs those calls keep busy.
    """

    engine: Literal["local", "ray"]
    machines: int
    cores: int
    gpus: int
    encoders: int
    threads: int
    gpus_per_encoder: float
    decoders: int
    probe_tasks: int
    probe_calls: int
    probe_devices: int

    @property
    def node(self) -> NodeKind:
        """All of it as one machine, whose GPUs each take a core from decoding."""
        return NodeKind(max(self.cores, self.gpus + 1), self.gpus)


def workplace_of(encoder: Encoder, engine: Engine, device: str = "auto") -> Workplace:
    """Return what a scan with these has.

    Parameters
    ----------
    encoder : Encoder
        Loaded; a RayEncoder with a RayEngine.
    engine : Engine
        One of the two kinds.
    device : str
        What the encoder was loaded on, as `load_encoder` or `EncoderProcesses` was told.
    """
    if isinstance(engine, RayEngine) and isinstance(encoder, RayEncoder):
        return _of_cluster(encoder, engine)
    cores, calls = n_cores(), encoder.n_parallel
    gpus = _gpus(encoder, device)
    return Workplace(
        engine="local",
        machines=1,
        cores=cores,
        gpus=gpus,
        encoders=max(1, len(split_devices(device))),
        threads=calls if not gpus else max(1, calls // gpus),
        gpus_per_encoder=1.0 if gpus else 0.0,
        decoders=(engine.workers if isinstance(engine, LocalEngine) else None) or cores,
        probe_tasks=cores,
        probe_calls=calls,
        # A call by itself has threads of its own on all cores.
        probe_devices=gpus or (cores if calls == 1 else min(calls, cores)),
    )


def _gpus(encoder: Encoder, device: str) -> int:
    names = split_devices(device)
    if names == ["auto"]:  # only torch looks for a GPU by itself, and says what it took
        facts = getattr(encoder, "facts", {})
        names = [str(facts.get("device", ""))]
    return sum(name.startswith("cuda") for name in names)


def _of_cluster(encoder: RayEncoder, engine: RayEngine) -> Workplace:
    layout, nodes = encoder.layout, engine.cluster.nodes
    share = layout.gpus_per_encoder
    gpus = layout.encoders if share >= 1 else math.ceil(layout.encoders * share - 1e-9)
    cpus = int(sum(node.cpus for node in nodes))
    decoding = max(1, int(layout.n_decoders * layout.cpus_per_decoder))
    return Workplace(
        engine="ray",
        machines=len(nodes),
        cores=decoding + gpus if gpus else max(1, cpus),
        gpus=gpus,
        encoders=layout.encoders,
        threads=encoder.n_parallel,
        gpus_per_encoder=share,
        decoders=layout.n_decoders,
        probe_tasks=max(1, cpus),
        probe_calls=1,  # its worker takes one after the other
        probe_devices=1,
    )
