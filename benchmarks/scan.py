"""How near `clipsieve scan` comes to what the cores can do, and how it compares with the loop that a person would write first.

The bound of a machine with c cores is c / (e + d) images/s, where e and d are the core-seconds that encoding and decoding one
image take when nothing else is done: e from the bare encoder on ready tensors, with as many calls at once as cores; d from the
bare decoding function, a process on each core. Both are measured in the same run as the scan, in turn with it, with random
weights of the true shapes. What is missing from 1 is what reading, handing over, waiting and writing cost.

Starting the decoding processes and the run takes the same time for few images as for many, and says nothing of the rate. So a
batch for each core and n images are scanned, and the rate is that of the further ones; what else the few took is the column
`start`. The bare encoder is measured before and after the scan, since the cores of a shared machine are not always as fast.
"""

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._machine import describe_machine
from benchmarks._photographs import photographs, scaled, write_images
from benchmarks._towers import tower_folder
from clipsieve import load_encoder, open_source, scan, write_demo_data
from clipsieve.encoders import Encoder
from clipsieve.images import DecodeLimits, decode_fitted, fit_to_recipe
from clipsieve.types import DecodedImage, ImageRef, Preprocessing

# Shape, images, rounds. The full ones scan 2,000 photographs in three rounds, and of the dearer encoder as many as take as long.
CASES = (("ViT-B/32", 96, 1),)
FULL_CASES = (("ViT-B/32", 667, 3), ("ViT-B/16", 96, 3))
N_LARGE = 150
REPEATS = 3
N_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Rates:
    """Images per second of one round, and the seconds that a scan takes to start and to end."""

    encode: float
    decode: float
    scan: float
    start: float

    @property
    def bound(self) -> float:
        """What the cores could do at most."""
        return 1 / (1 / self.encode + 1 / self.decode)


def encode_rate(encoder: Encoder, pixels: np.ndarray) -> float:
    """Return the rate of the bare encoder on ready tensors, all cores busy."""
    step = encoder.best_batch_size
    batches = [pixels[start : start + step] for start in range(0, len(pixels), step)]
    with ThreadPoolExecutor(encoder.n_parallel) as threads:
        start = time.perf_counter()
        list(threads.map(encoder.encode_images, batches))
        return len(pixels) / (time.perf_counter() - start)


def decode_all(contents: Sequence[bytes], recipe: Preprocessing) -> int:
    """Decode in this process; return how many images came out."""
    found = [
        decode_fitted(ImageRef("", "", None, None, each), DecodeLimits(), recipe, exact=False) for each in contents
    ]
    return sum(isinstance(each, DecodedImage) for each in found)


def decode_rate(contents: Sequence[bytes], recipe: Preprocessing, processes: ProcessPoolExecutor) -> float:
    """Return the rate of the bare decoding function, a process on each core."""
    shares = [contents[i::N_CORES] for i in range(N_CORES)]
    start = time.perf_counter()
    n = sum(processes.map(decode_all, shares, [recipe] * N_CORES))
    return n / (time.perf_counter() - start)


def scan_seconds(images: Path, run: Path, encoder: Encoder) -> float:
    """Return what the whole scan takes, from listing to parts on the disk."""
    start = time.perf_counter()
    report = scan(open_source(images), run, encoder)
    assert report.n_failed == 0
    return time.perf_counter() - start


def scan_rate(few: Path, many: Path, n_few: int, n: int, run: Path, encoder: Encoder) -> tuple[float, float]:
    """Return the rate of the images of n that are beyond the few, and the seconds that these take beyond that rate."""
    least, most = scan_seconds(few, run / "few", encoder), scan_seconds(many, run / "many", encoder)
    rate = (n - n_few) / (most - least)
    return rate, least - n_few / rate


def measure_bound(contents: Sequence[bytes], n: int, repeats: int, encoder: Encoder, scratch: Path) -> list[Rates]:
    """Return the rates of each round, for n images of these contents."""
    side, step = encoder.recipe.size_px, N_CORES * encoder.best_batch_size
    few, many = write_images(scratch / "few", contents, step), write_images(scratch / "many", contents, n)
    pixels = np.random.default_rng(0).integers(0, 256, (-(-n // step) * step, side, side, 3), dtype=np.uint8)
    some = [contents[number % len(contents)] for number in range(n)]
    rates = []
    with ProcessPoolExecutor(N_CORES, get_context("forkserver")) as processes:
        decode_rate(some[:N_CORES], encoder.recipe, processes)  # starts them
        encode_rate(encoder, pixels[:step])
        for i in range(repeats):
            before, decode = encode_rate(encoder, pixels), decode_rate(some, encoder.recipe, processes)
            found = scan_rate(few, many, step, n, scratch / f"run{i}", encoder)
            rates.append(Rates(2 / (1 / before + 1 / encode_rate(encoder, pixels)), decode, *found))
    return rates


def bound_row(name: str, found: list[Rates]) -> str:
    """Return one line of the table: medians, and the median of each round's own ratio."""
    median: Callable[[list[float]], float] = lambda values: float(np.median(values))  # noqa: E731
    cells = [median([getattr(each, what) for each in found]) for what in ("encode", "decode", "bound", "scan")]
    share = median([each.scan / each.bound for each in found])
    start = median([each.start for each in found])
    return f"| {name} | " + " | ".join(f"{value:,.1f}" for value in cells) + f" | {share:.2f} | {start:.1f} |"


def plain_loop(images: Path, encoder: Encoder) -> float:
    """Return the rate of opening, fitting and encoding one image after the other."""
    n, start = 0, time.perf_counter()
    for path in sorted(images.rglob("*.*")):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError):
            continue
        encoder.encode_images(fit_to_recipe(pixels, encoder.recipe)[None])
        n += 1
    return n / (time.perf_counter() - start)


def loop_row(name: str, images: Path, scratch: Path, encoder: Encoder) -> str:
    """Return one line of the table, both sides in turn."""
    pairs = []
    for i in range(REPEATS):
        loop, start = plain_loop(images, encoder), time.perf_counter()
        pairs.append(
            (loop, scan(open_source(images), scratch / f"{name}{i}", encoder).n_scanned / (time.perf_counter() - start))
        )
    loops, scans = (np.median(side) for side in zip(*pairs, strict=True))
    return f"| {name} | {loops:,.0f} | {scans:,.0f} | {np.median([b / a for a, b in pairs]):.2f} |"


def main(*, full: bool = False) -> None:
    """Measure and print the tables; the full ones take 2,000 photographs, and some ten minutes on two cores."""
    print(describe_machine())
    photos = photographs()
    kinds = {"photographs": photos, "12 megapixels": scaled(photos, 12, 12)}
    heads = ("images/s", "bare encoder", "bare decoding", "bound", "scan", "scan / bound", "start, s")
    print(f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    with tempfile.TemporaryDirectory() as name:
        for shape, n, repeats in FULL_CASES if full else CASES:
            with load_encoder(str(tower_folder(shape) / "onnx")) as encoder:
                for kind, contents in kinds.items():
                    scratch = Path(name) / f"{shape.replace('/', '-')} {kind}"
                    found = measure_bound(contents, n, repeats, encoder, scratch)
                    print(bound_row(f"{shape}, {kind}", found), flush=True)
        with load_encoder("pictogram") as encoder:
            small, large = Path(name) / "small", Path(name) / "large"
            write_demo_data(small)
            _write_large(small, large)
            print("\n| embedded model, images/s | plain loop | scan | ratio |\n|---|---|---|---|")
            print(loop_row("1,200 pictures of 96 to 160 px", small, Path(name) / "a", encoder))
            print(loop_row(f"{N_LARGE} JPEGs of 1,600 x 1,200", large, Path(name) / "b", encoder))


def _write_large(small: Path, large: Path) -> None:
    """Draw some of the small pictures again, large."""
    large.mkdir()
    for path in sorted(small.rglob("pictogram_*.png"))[:N_LARGE]:
        with Image.open(path) as image:
            file = io.BytesIO()
            image.convert("RGB").resize((1600, 1200), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            (large / f"{path.stem}.jpg").write_bytes(file.getvalue())


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
