"""`clipsieve export`: the cleaned data set."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import engine_options, options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar

if TYPE_CHECKING:
    from clipsieve.outputs import ExportReport
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="export",
    short_help="Write the data set that is left.",
    examples=[
        "clipsieve export run clean --policy flagged --dry-run",
        "clipsieve export run clean --verdicts verdicts.csv --review-to doubtful",
        "clipsieve export run s3://bucket/clean --policy flagged",
        "clipsieve export run kept --policy flagged --as csv",
    ],
)
@options.run_argument
@click.argument("destination", metavar="DEST")
@click.option(
    "--policy",
    type=click.Choice(["thresholds", "flagged", "verdicts"]),
    default="thresholds",
    show_default=True,
    help="What the machine removes by itself: from the removal threshold on, all that it flags, or nothing.",
)
@options.scores_name
@options.verdicts
@click.option(
    "--undecided",
    type=click.Choice(["keep", "remove", "fail"]),
    default="fail",
    show_default=True,
    help="What becomes of images that nobody has decided on.",
)
@click.option("--review-to", metavar="DEST", help="A place for undecided images.")
@click.option("--remove-to", metavar="DEST", help="A place for removed images.  [default: left out]")
@click.option(
    "--as",
    "form",
    type=click.Choice(["same", "csv", "parquet", "datacomp", "torchvision"]),
    default="same",
    show_default=True,
    help="A data set of the same kind, or a list alone.",
)
@click.option(
    "--files",
    "how",
    type=click.Choice(["copy", "hardlink", "symlink"]),
    default="copy",
    show_default=True,
    help="How files of this machine get there; through a link, an edit there changes the source.",
)
@click.option("--from", "location", metavar="SOURCE", help="Where the source lies now.  [default: as it was scanned]")
@click.option("--dry-run", is_flag=True, help="Count, and write nothing.")
@engine_options.engine
@options.quiet
@options.as_json
def command(
    run: RunPath,
    destination: str,
    policy: str,
    name: str | None,
    verdicts: str | None,
    form: Any,  # noqa: ANN401
    how: Any,  # noqa: ANN401
    engine: str,
    ray_address: str | None,
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **places: Any,  # noqa: ANN401
) -> None:
    """Write what is kept of the data set behind RUN to DEST, as it was.

    DEST is a folder or a URL, new or empty; the same command goes on where it stopped. A verdict outdoes the machine, the
    block list outdoes both. `manifest.parquet` in DEST names every image, where it went, why, and who decided.
    """
    from clipsieve.cli.verdict_places import load_verdicts
    from clipsieve.engines import Policy
    from clipsieve.outputs import ExportOptions, export_run
    from clipsieve.store import Run

    opened = Run.open(run)
    told = ExportOptions(Policy(policy), name, load_verdicts(opened, verdicts), form=form, how=how, **places)
    with engine_options.open_engine(engine, ray_address) as workers, ProgressBar("exporting", quiet=quiet) as bar:
        report = export_run(opened, destination, told, dry_run=dry_run, engine=workers, on_progress=bar.update)
    _warn(report)
    render.emit_json(asdict(report)) if as_json else _show(report, destination)


def _warn(report: ExportReport) -> None:
    if report.n_problems:
        shown = "; ".join(report.problems[:3]) + ("; ..." if report.n_problems > 3 else "")
        files = render.count(report.n_problems, "file")
        render.print_warning(f"{files} could not be brought to where they belong: {shown}")
    if report.n_unhashed_kept:
        images = render.count(report.n_unhashed_kept, "image")
        render.print_warning(f"{images} that could not be read at all are kept: nobody knows what they show")
    for warning in report.warnings:
        render.print_warning(warning)


def _show(report: ExportReport, destination: str) -> None:
    columns = [("", "left"), ("images", "right"), ("size", "right"), ("where", "left")]
    rows = []
    for decision, place in report.places.items():
        where = place.url or ("left out" if place.n_images else "")
        # Of embeddings nobody knows how large their images were.
        size = render.size(place.n_bytes) if place.n_bytes or not place.n_images else "not known"
        rows.append((decision, f"{place.n_images:,}", size, where))
    render.print_table(columns, rows)
    render.print_text()
    for decision, place in report.places.items():
        for reason, n in place.reasons.items():
            render.print_text(f"{decision:8}{render.count(n, 'image')}: {reason}")
    render.print_text()
    for line in _outcome(report, destination):
        render.print_text(line)


def _outcome(report: ExportReport, destination: str) -> list[str]:
    if report.is_dry_run:
        lines = ["nothing was written: this was a dry run"]
        if report.n_undecided and report.undecided == "fail" and report.places["review"].url is None:
            lines.append("undecided images need a word: --review-to DIR, --undecided keep, or --undecided remove")
        return lines
    files = f"{render.count(report.n_files, 'file')}, {render.size(report.n_bytes_written)}"
    place = report.places["keep"].url or destination
    return [
        f"written   {files} in {render.seconds(report.elapsed_s)}",
        f"manifest  {shlex.quote(place.rstrip('/') + '/manifest.parquet')}",
        "          what is kept was not flagged, or people kept it; that does not make it harmless",
    ]
