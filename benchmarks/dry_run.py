"""How near the estimate of `clipsieve scan --dry-run` comes to the scan itself.

A dry run, the scan, and a dry run again, since the cores of a shared machine are not always as fast: the estimate is the mean of
both. Small pictures with the embedded model, of which decoding is half of the work; photographs with a ViT-B/32 of random
weights, of which encoding is nearly all; with `--full` more of them, and photographs of 12 megapixels, of which decoding is much.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._machine import describe_machine
from benchmarks._photographs import photographs, scaled, write_images
from benchmarks._towers import tower_folder
from clipsieve import load_encoder, open_source, scan, write_demo_data
from clipsieve.encoders import Encoder
from clipsieve.engines import Engine, LocalEngine
from clipsieve.engines.dry_run import dry_run
from clipsieve.engines.forecast import OFF_BY

N_SMALL, N_PHOTOGRAPHS, FULL_PHOTOGRAPHS, N_LARGE = 2000, 300, 667, 150


def estimate(images: Path, run: Path, model: str) -> tuple[float, float]:
    """Return the seconds that a scan will take by the estimate, and the images a second of these."""

    @contextmanager
    def opening() -> Iterator[tuple[Encoder, Engine]]:
        with load_encoder(model) as encoder:
            yield encoder, LocalEngine()

    found = dry_run(open_source(images), run, opening()).forecast
    assert found is not None
    return found.elapsed_s, found.images_per_s


def row(name: str, images: Path, run: Path, model: str) -> str:
    """Return one line of the table."""
    before = estimate(images, run, model)
    with load_encoder(model) as encoder:
        report = scan(open_source(images), run, encoder)
    after = estimate(images, run.with_name(f"{run.name}-again"), model)
    seconds, rate = ((a + b) / 2 for a, b in zip(before, after, strict=True))
    cells = [f"{report.n_listed:,}", f"{rate:,.1f}", f"{seconds:.1f}", f"{before[0]:.1f}", f"{after[0]:.1f}"]
    return f"| {name} | {' | '.join(cells)} | {report.elapsed_s:.1f} | {seconds / report.elapsed_s:.2f} |"


def main(*, full: bool = False) -> None:
    """Measure and print the table."""
    print(describe_machine())
    print(f"\nThe estimate says of itself that it may be off by a factor of {OFF_BY}.\n")
    heads = ("", "images", "images/s", "estimate, s", "before", "after", "scan, s", "estimate / scan")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    with tempfile.TemporaryDirectory() as name:
        here, photos = Path(name), photographs()
        write_demo_data(here / "small", n_images=N_SMALL)
        print(row("small pictures, embedded model", here / "small", here / "run-small", "pictogram"), flush=True)
        tower = str(tower_folder("ViT-B/32") / "onnx")
        kinds = [("photographs, ViT-B/32", photos, FULL_PHOTOGRAPHS if full else N_PHOTOGRAPHS)]
        if full:
            kinds.append(("12 megapixels, ViT-B/32", scaled(photos, 12, 12), N_LARGE))
        for kind, contents, n in kinds:
            images = write_images(here / kind.replace("/", "-"), contents, n)
            print(row(kind, images, here / f"run-{n}", tower), flush=True)


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
