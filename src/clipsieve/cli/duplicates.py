"""`clipsieve duplicates`: images that look alike."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar
from clipsieve.evaluation.intervals import wilson

if TYPE_CHECKING:
    from clipsieve.engines import Duplicates
    from clipsieve.store import Run, RunPath

__all__ = ["command"]

JSON_ROWS = 10_000  # that are in memory at once as Python's own objects


@click.command(
    cls=Command,
    name="duplicates",
    short_help="Find images that look alike.",
    examples=[
        "clipsieve duplicates run",
        "clipsieve duplicates run --min-similarity 0.98 -o duplicates.parquet",
        "clipsieve duplicates run --json | head",
    ],
)
@options.run_argument
@click.option(
    "--min-similarity",
    type=float,
    default=0.95,
    show_default=True,
    metavar="COSINE",
    help="How similar a member of a group is to its leader at least.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write all groups, .parquet or .csv."
)
@click.option(
    "--top", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="How many groups to show."
)
@options.quiet
@options.as_json
def command(run: RunPath, min_similarity: float, output: Path | None, top: int, *, quiet: bool, as_json: bool) -> None:
    """Find groups of near-duplicates among all images of RUN.

    Opens no image. Each group stands around a leader, the first such image of the run. With --json, prints one line for each
    image of a group. Needs the index extra.
    """
    from clipsieve.engines import find_duplicates
    from clipsieve.outputs import check_duplicates_path, duplicates_table, write_duplicates
    from clipsieve.store import Run

    if output is not None:
        check_duplicates_path(output)
    opened, started = Run.open(run), time.monotonic()
    with ProgressBar("comparing", quiet=quiet) as progress:
        found = find_duplicates(opened, min_similarity=min_similarity, on_progress=progress.update)
    elapsed_s = time.monotonic() - started
    if output is not None:
        write_duplicates(opened, found, output)
    if as_json:
        for batch in duplicates_table(opened, found).to_batches(max_chunksize=JSON_ROWS):
            for row in batch.to_pylist():
                render.emit_json(row, lines=True)
        return
    _show(opened, found, top, elapsed_s)
    if output is not None:
        render.print_text(f"written   {output}")


def _show(run: Run, found: Duplicates, top: int, elapsed_s: float) -> None:
    groups = found.groups()
    n_images = sum(map(len, groups))
    if groups:
        words = f"{render.count(n_images, 'image')} in {render.count(len(groups), 'group')} of near-duplicates"
        words += f", {n_images - len(groups):,} beside the first of each"
    else:
        words = "no near-duplicates"
    render.print_text(f"{words}, found in {render.seconds(elapsed_s)}")
    if found.n_checked:
        low, high = (float(end[0]) for end in wilson(np.array([found.n_found]), np.array([found.n_checked])))
        share = f"{found.n_found:,} of {found.n_checked:,} that it should have found"
        render.print_text(
            f"the index found {share} in a sample: {render.percent(low)} to {render.percent(high)} of all"
        )
    if groups and top:
        render.print_text()
        _show_groups(run, found, groups[:top])


def _show_groups(run: Run, found: Duplicates, groups: list[np.ndarray]) -> None:
    from clipsieve.outputs import duplicates_table

    named = duplicates_table(run, found, max_groups=len(groups))
    leaders = named.filter(named.column("is_leader")).column("image_id").to_pylist()
    lines = [
        (f"{len(group):,}", f"{found.similarity[group].min():.3f}", leader)
        for group, leader in zip(groups, leaders, strict=True)
    ]
    render.print_table([("images", "right"), ("least similar", "right"), ("the first of them", "left")], lines)
