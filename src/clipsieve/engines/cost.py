"""What a scan takes before it is begun: machines, hours, money. Pure: numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from clipsieve.engines.cost_bytes import Bytes, ImageSet, NodeKind, scan_bytes
from clipsieve.engines.rates import EncoderCosts, Rate, RunCosts, local_share, require_positive, run_costs
from clipsieve.errors import UsageError

__all__ = [
    "CLUSTER_SHARE",
    "Bytes",
    "Estimate",
    "ImageSet",
    "NodeKind",
    "NodeSpeed",
    "Rates",
    "estimate_scan",
    "local_images_per_s",
    "node_speed",
]

CLUSTER_SHARE = 0.85  # of what its machines could do, a cluster does; assumed

Bound = Literal["encoding", "decoding", "driver"]


@dataclass(frozen=True, slots=True)
class Rates:
    """What one device does.

    Attributes
    ----------
    encode : Rate
        Of a GPU, or of a core where there is none.
    decode : Rate
        Of a core.
    """

    encode: Rate
    decode: Rate


@dataclass(frozen=True, slots=True)
class NodeSpeed:
    """What one machine could do, if nothing ever waited.

    Attributes
    ----------
    encode_images_per_s, decode_images_per_s : float
        Of all GPUs, and of the cores that decode. Without a GPU: of all cores, if they did nothing else.
    images_per_s : float
        Of both together.
    bound : {"encoding", "decoding"}
        What takes the longer; without a GPU, what takes more of the cores.
    """

    encode_images_per_s: float
    decode_images_per_s: float
    images_per_s: float
    bound: Bound


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a scan takes on a cluster.

    Attributes
    ----------
    speed : NodeSpeed
        Of one machine.
    efficiency : float
        What part of that a cluster gets out of its machines; assumed.
    n_nodes : int
        How many there are, or the least that suffices.
    images_per_s : float
        Of the cluster, all told.
    driver_images_per_s : float
        The most that the driver joins and writes, whatever the others do.
    bound : {"encoding", "decoding", "driver"}
        What makes it no faster.
    hours, node_hours : float
        From the first image to the last; what is paid for.
    cost : float or None
        In the currency of the price, None without one.
    bytes : Bytes
        What is read, sent, written and held.
    """

    speed: NodeSpeed
    efficiency: float
    n_nodes: int
    images_per_s: float
    driver_images_per_s: float
    bound: Bound
    hours: float
    node_hours: float
    cost: float | None
    bytes: Bytes


def node_speed(node: NodeKind, rates: Rates) -> NodeSpeed:
    """Return what a machine could do.

    With GPUs, decoding and encoding go on beside each other: `min(gpus x e, (cores - gpus) x d)`. Without, they share the
    cores: `cores / (1/e + 1/d)`.

    Raises
    ------
    UsageError
        If no core is left to decode.
    """
    encode, decode = rates.encode.images_per_s, rates.decode.images_per_s
    if node.decoding_cores < 1:
        raise UsageError(
            "no core is left to decode",
            expected=f"more than {node.gpus:,} cores for {node.gpus:,} GPUs, each of which takes one to feed it",
            found=f"{node.cores:,}",
            hint="give more `--cores-per-node`, or fewer `--gpus-per-node`",
        )
    if node.gpus:
        encoded, decoded = node.gpus * encode, node.decoding_cores * decode
        return NodeSpeed(encoded, decoded, min(encoded, decoded), "encoding" if encoded <= decoded else "decoding")
    encoded, decoded = node.cores * encode, node.cores * decode
    return NodeSpeed(
        encoded, decoded, node.cores / (1 / encode + 1 / decode), "encoding" if encode <= decode else "decoding"
    )


def local_images_per_s(node: NodeKind, rates: Rates) -> float:
    """Return what the local engine does on one such machine.

    The share of what its devices could do that was measured; one process writes the parts there too.
    """
    return min(node_speed(node, rates).images_per_s * local_share()[0], 1 / run_costs().driver_s)


def estimate_scan(
    images: ImageSet,
    encoder: EncoderCosts,
    node: NodeKind,
    rates: Rates,
    *,
    n_nodes: int | None = None,
    hours: float | None = None,
    efficiency: float = CLUSTER_SHARE,
    price: float | None = None,
) -> Estimate:
    """Return what a scan takes on so many nodes, or on the fewest that do it in so many hours.

    `hours = images / 3600 / min(nodes x images/s of a node x efficiency, images/s of the driver)`. Starting the machines and
    loading the model are not in it.

    Parameters
    ----------
    images : ImageSet
        What is scanned.
    encoder : EncoderCosts
        With what.
    node : NodeKind
        Each machine.
    rates : Rates
        What its devices do.
    n_nodes : int, optional
        How many there are; 1 if neither this nor `hours` is given.
    hours : float, optional
        In how many it has to be done.
    efficiency : float, default=0.85
        What part of what its machines could do a cluster does, 0 to 1.
    price : float, optional
        Of a node for an hour.

    Raises
    ------
    UsageError
        If a number makes no sense, both `n_nodes` and `hours` are given, or no number of nodes would do.
    """
    _check(images, node, rates, n_nodes=n_nodes, hours=hours, efficiency=efficiency, price=price)
    speed, costs = node_speed(node, rates), run_costs()

    def images_per_s(n: int) -> float:
        return min(n * speed.images_per_s * efficiency, 1 / costs.driver_s)

    def hours_of(n: int) -> float:
        return images.n_images / 3600 / images_per_s(n)

    if hours is not None:
        n_nodes = _least_nodes(hours, hours_of, images, speed.images_per_s * efficiency, costs)
    n = n_nodes or 1
    rate = images_per_s(n)
    return Estimate(
        speed=speed,
        efficiency=efficiency,
        n_nodes=n,
        images_per_s=rate,
        driver_images_per_s=1 / costs.driver_s,
        bound="driver" if rate < n * speed.images_per_s * efficiency else speed.bound,
        hours=hours_of(n),
        node_hours=n * hours_of(n),
        cost=None if price is None else n * hours_of(n) * price,
        bytes=scan_bytes(images, encoder, node, rate, n, costs),
    )


def _least_nodes(
    hours: float, hours_of: Callable[[int], float], images: ImageSet, one_images_per_s: float, costs: RunCosts
) -> int:
    least_hours = images.n_images / 3600 / (1 / costs.driver_s)
    if least_hours > hours:
        raise UsageError(
            f"no number of nodes scans {images.n_images:,} images in {hours:,g} hours: one driver joins and writes the parts",
            expected=f"{least_hours:,.3g} hours or more, at {1 / costs.driver_s:,.0f} images/s",
            hint=f"split the source into {math.ceil(least_hours / hours)} runs, each with a driver of its own",
        )
    n = max(1, math.ceil(images.n_images / 3600 / hours / one_images_per_s))
    while hours_of(n) > hours:  # the last digit of a division
        n += 1
    return n


def _check(
    images: ImageSet,
    node: NodeKind,
    rates: Rates,
    *,
    n_nodes: int | None,
    hours: float | None,
    efficiency: float,
    price: float | None,
) -> None:
    if n_nodes is not None and hours is not None:
        raise UsageError(
            "the number of nodes and the hours exclude each other", hint="give one: the other is the answer"
        )
    numbers: dict[str, float] = {
        "the number of images": images.n_images,
        "the size of an image": images.image_bytes,
        "the size of a part": images.part_size,
        "the number of cores": node.cores,
        "the number of nodes": 1 if n_nodes is None else n_nodes,
        "the number of hours": 1 if hours is None else hours,
        "the encoder's images a second": rates.encode.images_per_s,
        "the efficiency": efficiency,
    }
    require_positive(numbers)
    if efficiency > 1:
        raise UsageError(f"the efficiency is {efficiency:g}", expected="at most 1")
    if price is not None and not 0 <= price < math.inf:
        raise UsageError(f"the price is {price:g}", expected="0 or more, and finite")
