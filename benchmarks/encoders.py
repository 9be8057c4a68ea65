"""How fast the bare image encoder is, by runtime, precision and the way its calls share the cores.

Towers of the true shapes with random weights, on pixels that lie ready. All ways take the same images in turn in the same run,
each over and over until a pass is long enough. `--full` has ViT-L/14, and a table with the batch length, for
`Encoder.best_batch_size`. It needs the extras torch and openvino.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._machine import describe_machine
from benchmarks._towers import own_home, tower_folder
from clipsieve.encoders import Encoder, load_encoder
from clipsieve.encoders.onnx import OnnxEncoder, OnnxRuntimeGraph
from clipsieve.encoders.quantize import FEWEST_IMAGES, quantize
from clipsieve.errors import ClipsieveError

N_CORES = len(os.sched_getaffinity(0))
BASE = "torch fp32"
EACH, BF16, INT8 = "ONNX Runtime fp32, a call for each core", "OpenVINO bf16", "OpenVINO int8"
BATCH_LENGTHS = (8, 16, 32)
PASS_S = 2.0  # shorter ones are at the mercy of what else the machine does


@dataclass(frozen=True)
class Work:
    """What one shape is measured on.

    Attributes
    ----------
    batch_size : int
        Images of one call.
    n_passes : int
        Passes of each way, in turn; the medians are given.
    least_batches : int
        That each core has in a pass, however long that takes.
    """

    batch_size: int
    n_passes: int
    least_batches: int


DEFAULT = {"ViT-B/32": Work(16, 2, 1)}
FULL = {"ViT-B/32": Work(16, 5, 1), "ViT-L/14": Work(4, 3, 3)}


@dataclass(frozen=True)
class Way:
    """An encoder, with what it is given in a pass: so many batches, of so many images each."""

    encoder: Encoder
    batch_size: int
    n_batches: int


@dataclass(frozen=True)
class Rate:
    """Images per second: the median, the least and the most of the passes; and the median of the CPU seconds for an image."""

    median: float
    least: float
    most: float
    cpu_s: float


def in_one_call(folder: Path) -> Encoder:
    """Return an encoder whose calls come one at a time, each with all cores."""
    return OnnxEncoder(
        folder, name="all", location="all", threads=1, open_image_graph=lambda path, _: OnnxRuntimeGraph(path, N_CORES)
    )


def in_int8(folder: Path, images: np.ndarray) -> Encoder:
    """Make the int8 tower, and return its encoder."""
    quantize(folder, images[:FEWEST_IMAGES])
    return load_encoder(str(folder), precision="int8")


def open_ways(folder: Path, images: np.ndarray) -> dict[str, Encoder]:
    """Return all encoders of a shape that this machine can run; says which it cannot."""
    model = str(folder / "onnx")
    openers = {
        BASE: lambda: load_encoder(str(folder / "torch"), backend="torch", device="cpu", threads=N_CORES),
        "ONNX Runtime fp32, all cores in one call": lambda: in_one_call(folder / "onnx"),
        EACH: lambda: load_encoder(model),
        "OpenVINO fp32": lambda: load_encoder(model, backend="openvino"),
        BF16: lambda: load_encoder(model, precision="bf16"),
        INT8: lambda: in_int8(folder / "onnx", images),
    }
    ways: dict[str, Encoder] = {}
    for name, opener in openers.items():
        try:
            ways[name] = opener()
        except ClipsieveError as error:
            print(f"\n{name} was left out: {error.what}")
    return ways


def one_pass(way: Way, images: np.ndarray) -> tuple[float, float]:
    """Return images per second, and CPU seconds for each, as the local engine calls an encoder."""
    starts = [number * way.batch_size % len(images) for number in range(way.n_batches)]
    batches = [images[start : start + way.batch_size] for start in starts]
    n = sum(map(len, batches))
    with ThreadPoolExecutor(way.encoder.n_parallel) as threads:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = list(threads.map(way.encoder.encode_images, batches))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert sum(map(len, rows)) == n
    return n / wall, cpu / n


def long_enough(encoder: Encoder, batch_size: int, least_batches: int, images: np.ndarray) -> Way:
    """Return a way with as many batches as a pass needs, the same number for each core, found by two short passes."""
    few = Way(encoder, batch_size, N_CORES)
    encoder.encode_images(images[:batch_size])  # alone, since runtimes prepare themselves in the first call
    one_pass(few, images)
    seconds = N_CORES * batch_size / one_pass(few, images)[0]
    return Way(encoder, batch_size, N_CORES * max(least_batches, math.ceil(PASS_S / seconds)))


def measure(ways: dict[str, Way], images: np.ndarray, n_passes: int) -> dict[str, Rate]:
    """Return the rate of each way, all in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(n_passes):
        for name, way in ways.items():
            found[name].append(one_pass(way, images))
    summaries = {}
    for name, passes in found.items():
        rates, cpu = zip(*passes, strict=True)
        summaries[name] = Rate(statistics.median(rates), min(rates), max(rates), statistics.median(cpu))
    return summaries


def print_ways(shape: str, work: Work, encoders: dict[str, Encoder], images: np.ndarray) -> None:
    """Measure and print the table of a shape."""
    length, least = work.batch_size, work.least_batches
    ways = {name: long_enough(encoder, length, least, images) for name, encoder in encoders.items()}
    found = measure(ways, images, work.n_passes)
    base = found.get(BASE, next(iter(found.values()))).median
    title = f"{shape}, batches of {length}, median of {work.n_passes} passes"
    print(
        f"\n| {title} | images in a pass | images/s | least to most | CPU ms/image | ratio |\n|---|---|---|---|---|---|"
    )
    for name, rate in found.items():
        figures = f"{rate.median:.1f} | {rate.least:.1f} to {rate.most:.1f} | {1000 * rate.cpu_s:.1f}"
        print(f"| {name} | {ways[name].n_batches * length} | {figures} | {rate.median / base:.2f} |", flush=True)


def print_batches(shape: str, work: Work, encoders: dict[str, Encoder], images: np.ndarray) -> None:
    """Measure and print what the length of a batch does."""
    chosen = {name: encoders[name] for name in (EACH, BF16, INT8) if name in encoders}
    ways = {
        f"{name}@{length}": long_enough(encoder, length, 1, images)
        for name, encoder in chosen.items()
        for length in BATCH_LENGTHS
    }
    found = measure(ways, images, work.n_passes)
    heads = " | ".join(f"{length} a batch" for length in BATCH_LENGTHS)
    print(f"\n| {shape}, images/s (CPU ms/image) | {heads} |\n|---|" + "---|" * len(BATCH_LENGTHS))
    for name in chosen:
        rates = [found[f"{name}@{length}"] for length in BATCH_LENGTHS]
        print(f"| {name} | " + " | ".join(f"{rate.median:.1f} ({1000 * rate.cpu_s:.1f})" for rate in rates) + " |")


def run_shape(shape: str, work: Work, *, batch_lengths: bool) -> None:
    """Make the towers of a shape, measure, and let go of them."""
    with own_home(), ExitStack() as stack:
        n = max(N_CORES * max(work.batch_size, *BATCH_LENGTHS), FEWEST_IMAGES)
        images = np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)
        encoders = open_ways(tower_folder(shape), images)
        for encoder in encoders.values():
            stack.enter_context(encoder)
        print_ways(shape, work, encoders, images)
        if batch_lengths:
            print_batches(shape, work, encoders, images)


def main(*, full: bool = False) -> None:
    """Measure and print the tables."""
    print(describe_machine())
    for shape, work in (FULL if full else DEFAULT).items():
        run_shape(shape, work, batch_lengths=full and shape == "ViT-B/32")


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
