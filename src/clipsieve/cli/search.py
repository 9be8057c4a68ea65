"""`clipsieve search`: the images that fit some words best."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from clipsieve.cli import engine_options, options, render
from clipsieve.cli.command import Command

if TYPE_CHECKING:
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="search",
    examples=[
        'clipsieve search run "a crying child"',
        'clipsieve search run "a knife" "a gun" -k 50 --json | head',
    ],
)
@options.run_argument
@click.argument("texts", nargs=-1, required=True, metavar="WORDS...")
@click.option("-k", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="How many images to show.")
@click.option(
    "-m", "--model", metavar="NAME_OR_DIR", help="Where the run's encoder lies now, if it was moved since the scan."
)
@engine_options.engine
@options.as_json
def command(
    run: RunPath,
    texts: tuple[str, ...],
    k: int,
    model: str | None,
    engine: str,
    ray_address: str | None,
    *,
    as_json: bool,
) -> None:
    """Find the images in RUN that fit some words best.

    Opens no image: the words go through the text tower of the encoder that made the run, and every stored embedding is
    compared. Several words belong in quotes; each quoted text is looked for by itself. With --json, prints one line for
    each image, with its URI.
    """
    from clipsieve.engines.search import search
    from clipsieve.store import Run

    opened = Run.open(run)
    with engine_options.open_engine(engine, ray_address) as workers:
        found = search(opened, texts, k, model=model, engine=workers)
    for place, (text, images) in enumerate(zip(texts, found, strict=True)):
        if as_json:
            for image in images:
                render.emit_json({"text": text} | asdict(image), lines=True)
            continue
        if place:
            render.print_text()
        render.print_text(text)
        for image in images:
            render.print_text(f"{image.similarity:8.3f}  {image.image_id}")
