"""How fast `clipsieve scan` is, beside the plain loop that a person would write first, in the same run.

Both sides do the same work with the embedded model on ONNX Runtime and keep every embedding: on the demo data set (1,200
pictures of 96 to 160 pixels), and on 300 of its pictures as JPEGs of 1,600 x 1,200, about the size of photographs on the web.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from clipsieve import load_encoder, open_source, scan, write_demo_data
from clipsieve.encoders import Encoder
from clipsieve.images import fit_to_recipe

REPEATS = 3
N_LARGE = 300


def plain_loop(images: Path, encoder: Encoder) -> int:
    """Open, fit and encode one image after the other."""
    n = 0
    for path in sorted(images.rglob("*.*")):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError):
            continue
        encoder.encode_images(fit_to_recipe(pixels, encoder.identity.preprocessing)[None])
        n += 1
    return n


def rates(images: Path, scratch: Path, encoder: Encoder) -> dict[str, list[float]]:
    """Return images per second of both sides, in turn."""
    ways: dict[str, Callable[[int], int]] = {
        "plain loop": lambda _: plain_loop(images, encoder),
        "clipsieve scan": lambda i: scan(open_source(images), scratch / f"run{i}", encoder).n_scanned,
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(REPEATS):
        for way, run in ways.items():
            start = time.perf_counter()
            n = run(repeat)
            found[way].append(n / (time.perf_counter() - start))
    return found


def write_large(small: Path, large: Path) -> None:
    """Draw some of the small pictures again, large."""
    large.mkdir()
    for path in sorted(small.rglob("pictogram_*.png"))[:N_LARGE]:
        with Image.open(path) as image:
            image.convert("RGB").resize((1600, 1200), Image.Resampling.BICUBIC).save(
                large / f"{path.stem}.jpg", quality=90
            )


def table(name: str, found: dict[str, list[float]]) -> None:
    """Print one table."""
    base = np.median(found["plain loop"])
    print(f"\n| {name} | images/s (median of {REPEATS}) | ratio |\n|---|---|---|")
    for way, values in found.items():
        print(f"| {way} | {np.median(values):,.0f} | {np.median(values) / base:.2f} |")


def main() -> None:
    """Measure and print the tables."""
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder, load_encoder("pictogram") as encoder:
        scratch = Path(folder)
        write_demo_data(scratch / "small")
        write_large(scratch / "small", scratch / "large")
        for name in ("small", "large"):
            table(name, rates(scratch / name, scratch / f"{name}-runs", encoder))


if __name__ == "__main__":
    main()
