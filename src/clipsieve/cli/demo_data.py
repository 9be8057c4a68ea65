"""`clipsieve demo-data`: draw the pictogram data set."""

from __future__ import annotations

from pathlib import Path

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command

__all__ = ["command"]


@click.command(
    cls=Command,
    name="demo-data",
    examples=["clipsieve demo-data demo/images", "clipsieve demo-data demo/small -n 200 --seed 7"],
)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-n", "--n-images", type=click.IntRange(1, 100_000), default=1200, show_default=True, metavar="N", help="How many."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="The same seed, the same files."
)
@options.as_json
def command(directory: Path, n_images: int, seed: int, *, as_json: bool) -> None:
    """Draw a data set of pictograms, with ratings.

    Class folders of small pictures composed of emoji, `ratings.csv` with made-up ratings from 1 (bad) to 5 (good), and
    a few files that are broken on purpose. DIR must be new or empty.
    """
    from clipsieve.demo import write_demo_data

    data = write_demo_data(directory, n_images=n_images, seed=seed)
    if as_json:
        render.emit_json(
            {"directory": str(directory), "images": data.n_images, "broken": data.n_broken, "classes": data.n_classes}
        )
        return
    drawn = f"drew {render.count(data.n_images, 'image')} in {render.count(data.n_classes, 'class')}"
    render.print_text(f"{drawn} and {render.count(data.n_broken, 'broken file')} into {directory}")
