"""`clipsieve duplicates`: images that look alike."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar

if TYPE_CHECKING:
    from clipsieve.engines import Duplicates

__all__ = ["command"]


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
def command(run: Path, min_similarity: float, output: Path | None, top: int, *, quiet: bool, as_json: bool) -> None:
    """Find groups of near-duplicates among all images of RUN.

    Opens no image. Each group stands around a leader, the first such image of the run. With --json, prints one line for each
    image of a group. Needs the index extra.
    """
    from clipsieve.engines import find_duplicates
    from clipsieve.outputs import duplicates_table, write_duplicates
    from clipsieve.store import Run

    opened, started = Run.open(run), time.monotonic()
    with ProgressBar("comparing", quiet=quiet) as progress:
        found = find_duplicates(opened, min_similarity=min_similarity, on_progress=progress.update)
    elapsed_s = time.monotonic() - started
    if output is not None:
        write_duplicates(opened, found, output)
    rows: list[dict[str, Any]] = duplicates_table(opened, found).to_pylist()
    if as_json:
        for row in rows:
            render.emit_json(row, lines=True)
        return
    _show(found, rows, top, elapsed_s)
    if output is not None:
        render.print_text(f"written   {output}")


def _show(found: Duplicates, rows: list[dict[str, Any]], top: int, elapsed_s: float) -> None:
    leaders = [place for place, row in enumerate(rows) if row["is_leader"]]
    sizes = [end - start for start, end in zip(leaders, [*leaders[1:], len(rows)], strict=True)]
    groups = f"{render.count(len(rows), 'image')} in {render.count(len(leaders), 'group')} of near-duplicates"
    others = f"{len(rows) - len(leaders):,} beside the first of each"
    render.print_text(f"{groups}, {others}, found in {render.seconds(elapsed_s)}")
    if found.found_fraction < 1:
        render.print_text(f"the index found about {render.percent(found.found_fraction)} of those that it should find")
    if not leaders or not top:
        return
    render.print_text()
    lines = [
        (f"{size:,}", f"{min(row['similarity'] for row in rows[place : place + size]):.3f}", rows[place]["image_id"])
        for place, size in list(zip(leaders, sizes, strict=True))[:top]
    ]
    render.print_table([("images", "right"), ("least similar", "right"), ("the first of them", "left")], lines)
