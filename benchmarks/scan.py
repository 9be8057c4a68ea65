"""How fast `clipsieve scan` is, beside the plain loop that a person would write first, in the same run.

Both sides do the same work: the demo data set (1,200 small pictures), the embedded model, ONNX Runtime, every embedding kept.
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


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_demo_data(scratch / "images")
        with load_encoder("pictogram") as encoder:
            found = rates(scratch / "images", scratch, encoder)
    base = np.median(found["plain loop"])
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    print("| way | images/s (median of 3) | ratio |\n|---|---|---|")
    for way, values in found.items():
        print(f"| {way} | {np.median(values):,.0f} | {np.median(values) / base:.2f} |")


if __name__ == "__main__":
    main()
