"""How fast the bare image encoder is, by runtime, precision and the way its calls share the cores.

Towers of the true shapes with random weights, on pixels that lie ready. All ways take the same images in turn in the same run.
A second table has the batch length, for `Encoder.best_batch_size`. It needs the extras torch and openvino.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._machine import describe_machine
from benchmarks._towers import tower_folder
from clipsieve.encoders import Encoder, load_encoder
from clipsieve.encoders.onnx import OnnxEncoder, OnnxRuntimeGraph
from clipsieve.encoders.quantize import quantize
from clipsieve.errors import ClipsieveError

N_CORES = len(os.sched_getaffinity(0))
BASE = "torch fp32"
EACH, BF16, INT8 = "ONNX Runtime fp32, a call for each core", "OpenVINO bf16", "OpenVINO int8"
BATCH_LENGTHS = (8, 16, 32)
N_CALIBRATION = 8  # enough for speed, which is all that counts here


@dataclass(frozen=True)
class Work:
    """What one shape is measured on.

    Attributes
    ----------
    batch_size : int
        Images of one call; each core gets one in each pass.
    n_passes : int
        Passes of each way, in turn; the medians are given.
    n_long : int
        Images of each pass with each batch length; 0 for no such table.
    int8 : bool
        Whether an int8 tower is made, which takes its time for large ones.
    """

    batch_size: int
    n_passes: int
    n_long: int = 0
    int8: bool = False


WORK = {
    "ViT-B/32": Work(16, 3, n_long=64, int8=True),
    "ViT-L/14": Work(4, 1),
}


@contextmanager
def home(folder: Path) -> Iterator[None]:
    """Keep what is made here away from the user's own int8 towers."""
    before = os.environ.get("CLIPSIEVE_HOME")
    os.environ["CLIPSIEVE_HOME"] = str(folder)
    try:
        yield
    finally:
        del os.environ["CLIPSIEVE_HOME"]
        if before is not None:
            os.environ["CLIPSIEVE_HOME"] = before


def in_one_call(folder: Path) -> Encoder:
    """Return an encoder whose calls come one at a time, each with all cores."""
    return OnnxEncoder(
        folder, name="all", location="all", threads=1, open_image_graph=lambda path, _: OnnxRuntimeGraph(path, N_CORES)
    )


def open_ways(folder: Path, images: np.ndarray, *, int8: bool) -> dict[str, Encoder]:
    """Return all encoders of a shape that this machine can run; says which it cannot."""
    model = str(folder / "onnx")
    openers = {
        BASE: lambda: load_encoder(str(folder / "torch"), backend="torch", device="cpu", threads=N_CORES),
        "ONNX Runtime fp32, all cores in one call": lambda: in_one_call(folder / "onnx"),
        EACH: lambda: load_encoder(model),
        "OpenVINO fp32": lambda: load_encoder(model, backend="openvino"),
        BF16: lambda: load_encoder(model, precision="bf16"),
    }
    if int8:
        quantize(folder / "onnx", images[:N_CALIBRATION])
        openers[INT8] = lambda: load_encoder(model, precision="int8")
    ways: dict[str, Encoder] = {}
    for name, opener in openers.items():
        try:
            ways[name] = opener()
        except ClipsieveError as error:
            print(f"\n{name} was left out: {error.what}")
    return ways


def one_pass(encoder: Encoder, images: np.ndarray, batch_size: int) -> tuple[float, float]:
    """Return images per second, and CPU seconds for each, as the local engine calls an encoder."""
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    with ThreadPoolExecutor(encoder.n_parallel) as threads:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = list(threads.map(encoder.encode_images, batches))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert sum(map(len, rows)) == len(images)
    return len(images) / wall, cpu / len(images)


def measure(runs: dict[str, tuple[Encoder, int]], images: np.ndarray, n_passes: int) -> dict[str, tuple[float, float]]:
    """Return the medians of each encoder with its batch length, all in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(n_passes):
        for name, (encoder, batch_size) in runs.items():
            found[name].append(one_pass(encoder, images, batch_size))
    return {
        name: (statistics.median(rate for rate, _ in values), statistics.median(cpu for _, cpu in values))
        for name, values in found.items()
    }


def print_ways(shape: str, work: Work, ways: dict[str, Encoder], images: np.ndarray) -> None:
    """Measure and print the table of a shape."""
    n = N_CORES * work.batch_size
    cosines = {name: encoder.encode_images(images[:2]) for name, encoder in ways.items()}  # and warm
    found = measure({name: (encoder, work.batch_size) for name, encoder in ways.items()}, images[:n], work.n_passes)
    base = found.get(BASE, next(iter(found.values())))[0]
    print(f"\n| {shape}, {n} images in batches of {work.batch_size} | images/s | CPU ms/image | ratio | least cosine |")
    print("|---|---|---|---|---|")
    for name, (rate, cpu) in found.items():
        least = float((cosines[name] * next(iter(cosines.values()))).sum(axis=1).min())
        print(f"| {name} | {rate:.1f} | {1000 * cpu:.1f} | {rate / base:.2f} | {least:.5f} |")


def print_batches(shape: str, work: Work, ways: dict[str, Encoder], images: np.ndarray) -> None:
    """Measure and print what the length of a batch does."""
    chosen = {name: ways[name] for name in (EACH, BF16, INT8) if name in ways}
    runs = {f"{name}@{length}": (encoder, length) for name, encoder in chosen.items() for length in BATCH_LENGTHS}
    found = measure(runs, images[: work.n_long], work.n_passes)
    heads = " | ".join(f"{length} a batch" for length in BATCH_LENGTHS)
    print(f"\n| {shape}, images/s (CPU ms/image) | {heads} |\n|---|" + "---|" * len(BATCH_LENGTHS))
    for name in chosen:
        values = [found[f"{name}@{length}"] for length in BATCH_LENGTHS]
        print(f"| {name} | " + " | ".join(f"{rate:.1f} ({1000 * cpu:.1f})" for rate, cpu in values) + " |")


def run_shape(shape: str, work: Work) -> None:
    """Make the towers of a shape, measure, and let go of them."""
    with tempfile.TemporaryDirectory() as scratch, home(Path(scratch) / "home"), ExitStack() as stack:
        folder = tower_folder(shape)
        n = max(N_CORES * work.batch_size, work.n_long)
        images = np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)
        ways = open_ways(folder, images, int8=work.int8)
        for encoder in ways.values():
            stack.enter_context(encoder)
        print_ways(shape, work, ways, images)
        if work.n_long:
            print_batches(shape, work, ways, images)


def main() -> None:
    """Measure and print the tables."""
    print(describe_machine())
    for shape, work in WORK.items():
        run_shape(shape, work)


if __name__ == "__main__":
    main()
