"""What a scan will take, from what a few of its images took. Pure: numbers in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clipsieve.engines.cost import CLUSTER_SHARE, Bound, ImageSet, Rates, estimate_scan, node_speed
from clipsieve.engines.probe import Probe
from clipsieve.engines.rates import EncoderCosts, Rate, local_share
from clipsieve.engines.workplace import Workplace
from clipsieve.evaluation.intervals import wilson

__all__ = ["OFF_BY", "Forecast", "forecast"]

OFF_BY = 1.5  # `benchmarks/dry_run.py` prints how far off it was
SLOW_START_S = 30.0  # of a cluster, whose workers are begun anew for a scan: 10 to 30 s were seen on two busy cores
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to come.

    Attributes
    ----------
    read_bytes, read_bytes_low, read_bytes_high : float
        Of the source, with the interval of 95 % that the sizes in the probe leave.
    run_bytes, part_bytes : float
        Of what is to be written, and of one of its parts.
    images_per_s : float
        While all is under way.
    bound : {"encoding", "decoding", "driver"}
        What makes it no faster; on CPUs, what takes more of the cores.
    reading_images_per_s : float
        What the source gave in the probe, one file after the other.
    start_s, elapsed_s : float
        Before the first image; from then to the last part, too.
    least_s, most_s : float
        `elapsed_s` may be off by so much: a factor of 1.5 either way, and a slow start of a cluster.
    cost : float or None
        At the price, for `elapsed_s`; None without one.
    n_failures, n_failures_low, n_failures_high : int
        To be expected, with the interval of 95 % that the probe leaves (Wilson's).
    """

    read_bytes: float
    read_bytes_low: float
    read_bytes_high: float
    run_bytes: float
    part_bytes: float
    images_per_s: float
    bound: Bound
    reading_images_per_s: float
    start_s: float
    elapsed_s: float
    least_s: float
    most_s: float
    cost: float | None
    n_failures: int
    n_failures_low: int
    n_failures_high: int


def forecast(
    probe: Probe, workplace: Workplace, n_images: int, part_size: int, embedding_dim: int, price: float | None = None
) -> Forecast:
    """Return what a scan of so many images takes.

    With c cores, d seconds of a core to decode an image and e to encode it, CPUs do `c / (e + d)` images/s: both kinds of work
    share the cores. With g GPUs of e seconds an image, encoding goes on beside decoding: the slower of `g / e` and
    `(c - g) / d`. Neither is more than the decoders or the encoders do, where there are fewer of them than cores. Of that, a scan
    gets the share that was measured for the engine; and the thread that writes the parts has its own limit.

    Reading is taken to keep up: it goes on beside the rest, several files at once.

    Parameters
    ----------
    probe : Probe
        Measured at this workplace.
    workplace : Workplace
        Where the scan will be.
    n_images : int
        That are left, >= 1.
    part_size, embedding_dim : int
        Most images in a part; width of an embedding.
    price : float, optional
        Of the whole workplace for an hour, >= 0.

    Raises
    ------
    UsageError
        If the price makes no sense.
    """
    rates = Rates(_measured(probe.encode_s), _measured(probe.decode_s))
    n_parts = -(-n_images // part_size)
    limit, slower = _limit(rates, workplace, n_parts)
    found = estimate_scan(
        ImageSet(n_images, max(1.0, probe.image_bytes), part_size),
        EncoderCosts("", 0.0, embedding_dim, 1, {}, ""),  # no more than the width is asked of it
        workplace.node,
        rates,
        efficiency=limit * (local_share()[0] if workplace.engine == "local" else CLUSTER_SHARE),
        price=price,
    )
    elapsed_s = probe.start_s + 3600 * found.hours
    margin = Z_95 * probe.image_bytes_error
    fewest, most = _failures(probe, n_images)
    return Forecast(
        read_bytes=n_images * probe.image_bytes,
        read_bytes_low=n_images * max(0.0, probe.image_bytes - margin),
        read_bytes_high=n_images * (probe.image_bytes + margin),
        run_bytes=found.bytes.run_bytes,
        part_bytes=found.bytes.part_bytes,
        images_per_s=found.images_per_s,
        bound=found.bound if limit == 1 or found.bound == "driver" else slower,
        reading_images_per_s=1 / max(probe.read_s, 1e-9),
        start_s=probe.start_s,
        elapsed_s=elapsed_s,
        least_s=elapsed_s / OFF_BY,
        most_s=elapsed_s * OFF_BY + (SLOW_START_S if workplace.engine == "ray" else 0.0),
        cost=None if price is None else price * elapsed_s / 3600,
        n_failures=round(n_images * probe.n_failed / probe.n_images),
        n_failures_low=fewest,
        n_failures_high=most,
    )


def _limit(rates: Rates, workplace: Workplace, n_parts: int) -> tuple[float, Bound]:
    """Return what part of what all devices could do so many decoders and encoders can, and which of these are too few.

    On a cluster each part is decoded by one task: more decoders than parts have nothing to do.
    """
    could = node_speed(workplace.node, rates).images_per_s
    decoders = min(workplace.decoders, n_parts) if workplace.engine == "ray" else workplace.decoders
    decoded = decoders * rates.decode.images_per_s / could
    # A call that is alone has threads on all cores.
    calls = max(workplace.encoders * workplace.threads, workplace.probe_devices)
    encoded = math.inf if workplace.gpus else calls * rates.encode.images_per_s / could
    return min(1.0, decoded, encoded), "decoding" if decoded <= encoded else "encoding"


def _measured(seconds: float) -> Rate:
    return Rate(1 / max(seconds, 1e-9), "measured", "by the probe")


def _failures(probe: Probe, n_images: int) -> tuple[int, int]:
    """Return how few and how many failures there may be."""
    low, high = wilson(np.array([probe.n_failed]), np.array([probe.n_images]))
    return int(n_images * low[0]), int(np.ceil(n_images * high[0]))
