"""`clipsieve scan`: from images to stored embeddings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar

__all__ = ["command"]


@click.command(
    cls=Command,
    name="scan",
    examples=[
        "clipsieve scan photos -o run",
        "clipsieve scan photos -o run --model immich-app/ViT-L-14__openai",
        "clipsieve scan photos -o run --model models/my-clip --workers 8 --max-failures 1%",
    ],
)
@click.argument("source", metavar="SOURCE")
@click.option(
    "-o", "--output", "run", type=click.Path(path_type=Path), required=True, metavar="RUN", help="The run folder."
)
@options.model
@options.backend
@options.device
@options.precision
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    metavar="N",
    default=32,
    show_default=True,
    help="Images per encoder call.",
)
@click.option(
    "--workers", type=click.IntRange(1, 512), metavar="N", help="Decoding processes.  [default: one for each core]"
)
@click.option(
    "--part-size",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=1000,
    show_default=True,
    help="Images per stored part.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    default=178_000_000,
    show_default=True,
    help="Larger images are not decoded.",
)
@click.option("--max-failures", metavar="N|P%", help="Stop when more images failed than this.  [default: never]")
@options.quiet
@options.as_json
def command(
    source: str,
    run: Path,
    model: str,
    backend: str,
    device: str,
    precision: str,
    batch_size: int,
    workers: int | None,
    part_size: int,
    max_pixels: int,
    max_failures: str | None,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Scan a data set once into embeddings.

    SOURCE is a folder of images, nested or not; with one folder per class, the class is kept as a label. Every image
    ends as one row of RUN, with its embedding or with the reason why it has none. The same command again goes on where
    an interrupted one stopped.
    """
    from clipsieve.encoders import load_encoder
    from clipsieve.engines import DecodeLimits, LocalEngine, MaxFailures, ScanOptions, scan
    from clipsieve.sources import open_source

    images = open_source(source)
    scan_options = ScanOptions(
        part_size=part_size, limits=DecodeLimits(max_pixels=max_pixels), max_failures=MaxFailures.parse(max_failures)
    )
    with load_encoder(model, backend=backend, device=device, precision=precision) as encoder:
        engine = LocalEngine(workers=workers, batch_size=batch_size)
        with ProgressBar("scanning", quiet=quiet) as progress:
            report = scan(images, run, encoder, options=scan_options, engine=engine, on_progress=progress.update)
    if as_json:
        render.emit_json(asdict(report))
        return
    done = "nothing new"
    if report.n_new:
        rate = render.rate(report.n_new, report.elapsed_s)
        done = f"{report.n_new:,} new in {render.seconds(report.elapsed_s)}, {rate}"
    scanned = f"scanned {report.n_scanned:,} of {render.count(report.n_listed, 'image')} into {run}"
    render.print_text(f"{scanned}: {report.n_failed:,} failed, {done}")
    if click.get_current_context().get_parameter_source("model") is ParameterSource.DEFAULT:
        render.print_text(
            "the encoder was `pictogram`, which knows emoji alone: for photographs, choose another --model"
        )
