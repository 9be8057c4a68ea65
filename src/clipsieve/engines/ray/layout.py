"""How a scan is laid out over the machines of a cluster. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipsieve.errors import UsageError

__all__ = ["MOST_THREADS", "Layout", "Node", "Wanted", "block_bytes", "lay_out"]

MOST_THREADS = 8  # of one encoder on CPUs: each holds the model once, and each thread a core
# What Ray's books say that an encoder on CPUs takes. Where a machine is lost, its encoders are started anew on the others; if
# they took what decoding needs, both would wait for each other for ever.
BOOKED_CPUS = 0.01
DECODER_CPUS = 0.9
# What travels as one object: more would wait for each other, fewer would cost Ray's own time for each.
BATCHES_IN_BLOCK = 4
LEAST_BLOCK_BYTES = 1024**2
MOST_BLOCK_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of a cluster offers.

    Attributes
    ----------
    cpus, gpus : float
        As Ray counts them.
    object_store_bytes : int
        Shared memory for what travels between workers.
    """

    cpus: float
    gpus: float
    object_store_bytes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; None leaves it to the machines that are there.

    Attributes
    ----------
    encoders : int or None
        Loaded encoders.
    gpus_per_encoder, cpus_per_encoder, cpus_per_decoder : float or None
        What each uses; a fraction shares one.
    object_store_bytes : int or None
        What may lie in shared memory at once, over all machines.
    """

    encoders: int | None = None
    gpus_per_encoder: float | None = None
    cpus_per_encoder: float | None = None
    cpus_per_decoder: float | None = None
    object_store_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How many encoders there are, and what each worker is given.

    Attributes
    ----------
    encoders : int
        Loaded encoders.
    gpus_per_encoder, cpus_per_encoder : float
        What each is given in Ray's books; on CPUs next to nothing, since both steps use all cores.
    threads : int
        Calls of an encoder at once on CPUs, each on a core.
    cpus_per_decoder : float
        What each decoding task is given, as Ray counts.
    n_decoders : int
        How many of them fit beside the encoders.
    object_store_bytes : int or None
        What may lie in shared memory at once.
    """

    encoders: int
    gpus_per_encoder: float
    cpus_per_encoder: float
    threads: int
    cpus_per_decoder: float
    n_decoders: int
    object_store_bytes: int | None


def block_bytes(size_px: int, batch_size: int) -> int:
    """Return how large an object of pixels between workers is: several batches, and one at least."""
    batch_bytes = 3 * size_px**2 * batch_size
    return max(batch_bytes, min(max(BATCHES_IN_BLOCK * batch_bytes, LEAST_BLOCK_BYTES), MOST_BLOCK_BYTES))


def lay_out(nodes: Sequence[Node], wanted: Wanted, *, on_gpu: bool) -> Layout:
    """Return how a scan uses these machines.

    On GPUs, an encoder takes one of them and a CPU to feed it, and decoding takes the other CPUs. On CPUs, both use all cores,
    and each waits only when the other is behind, as on one machine: there is a decoding task for each CPU, and beside them an
    encoder for each eight CPUs of a machine.

    Raises
    ------
    UsageError
        If the machines do not have what was asked for; says what they have.
    """
    return _on_gpus(nodes, wanted) if on_gpu else _on_cpus(nodes, wanted)


def _on_gpus(nodes: Sequence[Node], wanted: Wanted) -> Layout:
    gpus = wanted.gpus_per_encoder if wanted.gpus_per_encoder is not None else 1.0
    cpus = wanted.cpus_per_encoder if wanted.cpus_per_encoder is not None else 1.0
    if gpus > 1 and gpus != int(gpus):
        raise UsageError("Ray gives whole GPUs, or a part of one", found=f"--gpus-per-encoder {gpus:g}")
    fitting = [min(_on_each(node.gpus, gpus), _times(node.cpus, cpus)) for node in nodes]
    room = sum(fitting)
    encoders, decoder = wanted.encoders or room, wanted.cpus_per_decoder or 1.0
    n_decoders = sum(
        _times(node.cpus - n * cpus, decoder) for node, n in zip(nodes, _spread(fitting, encoders), strict=True)
    )
    if not 0 < encoders <= room or n_decoders < 1:
        raise _too_much(nodes, f"{max(encoders, 1):,} encoders of {gpus:g} GPUs and {cpus:g} CPUs each", decoder)
    return Layout(encoders, gpus, cpus, 1, decoder, n_decoders, wanted.object_store_bytes)


def _on_cpus(nodes: Sequence[Node], wanted: Wanted) -> Layout:
    if wanted.gpus_per_encoder:
        raise UsageError(
            "an encoder on CPUs takes no GPU",
            found=f"--gpus-per-encoder {wanted.gpus_per_encoder:g}",
            hint="say `--device cuda`, or leave it away",
        )
    # As the larger machines want it: one small machine must not make sixty encoders of one thread of a large one.
    largest = max((node.cpus for node in nodes), default=1.0)
    threads = max(1, round(wanted.cpus_per_encoder or min(MOST_THREADS, largest)))
    room = sum(_times(node.cpus, threads) for node in nodes)
    # A little less than a CPU, so that what the encoders book does not cost a machine one of its decoding tasks.
    encoders, decoder = wanted.encoders or room, wanted.cpus_per_decoder or DECODER_CPUS
    n_decoders = sum(_times(node.cpus - encoders * BOOKED_CPUS / len(nodes), decoder) for node in nodes)
    if not 0 < encoders <= room or n_decoders < 1:
        raise _too_much(nodes, f"{max(encoders, 1):,} encoders that use {threads:,} CPUs each", decoder)
    return Layout(encoders, 0.0, BOOKED_CPUS, threads, decoder, n_decoders, wanted.object_store_bytes)


def _on_each(gpus: float, share: float) -> int:
    """Return how many encoders find room on the GPUs of a machine; none is spread over two."""
    return int(gpus) * _times(1.0, share) if 0 < share < 1 else _times(gpus, share)


def _spread(fitting: Sequence[int], n: int) -> list[int]:
    """Return how many of n encoders each machine gets, if the first ones are filled first."""
    given = []
    for room in fitting:
        given.append(min(room, n))
        n -= given[-1]
    return given


def _times(there: float, each: float) -> int:
    """Return how often one thing fits; of what takes nothing, one."""
    return int(there / each + 1e-9) if each > 0 else 1


def _too_much(nodes: Sequence[Node], encoders: str, decoder: float) -> UsageError:
    return UsageError(
        "the cluster has less than was asked for",
        expected=f"{encoders}, and {decoder:g} CPUs to decode",
        found="; ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes[:8]) or "no machine",
        state="nothing was written",
        hint="ask for less with `--encoders`, `--gpus-per-encoder`, `--cpus-per-encoder`, or add machines",
    )
