"""`clipsieve report`: what was found, as a page and as tables."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import engine_options, options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar
from clipsieve.cli.report_options import report_options

if TYPE_CHECKING:
    from clipsieve.outputs import Report
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="report",
    short_help="Report what was found, on one page.",
    examples=[
        "clipsieve report run -o report.html",
        "clipsieve report run -o report.html --verdicts v.csv --taxonomy mine.toml",
        "clipsieve report run -o report.html --no-thumbnails",
    ],
)
@options.run_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="The page; tables and lists go into a folder of the same name.",
)
@report_options
@click.option("--no-thumbnails", is_flag=True, help="Hold no image.")
@click.option("--from", "location", metavar="SOURCE", help="Where the source lies now, for thumbnails.")
@engine_options.engine
@options.quiet
@options.as_json
def command(
    run: RunPath,
    output: Path,
    name: str | None,
    verdicts: str | None,
    engine: str,
    ray_address: str | None,
    *,
    no_thumbnails: bool,
    quiet: bool,
    as_json: bool,
    **told: Any,  # noqa: ANN401
) -> None:
    """Report what was found: one HTML file, and the same as JSON and CSV.

    Says how many images were scanned, failed, flagged and reviewed, in which classes they sit, what they show as far as
    words can tell, and how to find all this again. It never says that a data set is safe.
    """
    from clipsieve.cli.verdict_places import load_verdicts
    from clipsieve.outputs import ReportOptions, report_to_json, write_report
    from clipsieve.store import Run

    opened = Run.open(run)
    said = load_verdicts(opened, verdicts)
    options_ = ReportOptions(scores_name=name, verdicts=said, has_thumbnails=not no_thumbnails, **told)
    with (
        engine_options.open_engine(engine, ray_address) as workers,
        ProgressBar("reporting", quiet=quiet) as bar,
    ):
        found = write_report(opened, output, options_, engine=workers, on_progress=bar.update)
    for warning in found.warnings:
        render.print_warning(warning)
    render.emit_json(report_to_json(found.report)) if as_json else _show(found.report, output)


def _show(report: Report, output: Path) -> None:
    for words, figure_id in (("scanned", "n_scanned"), ("failed", "n_failed"), ("flagged", "n_flagged")):
        render.print_text(f"{words:10}{report.figure(figure_id).value:,}")
    reviewed = report.figure("n_verdicts").value
    render.print_text(f"reviewed  {reviewed:,}" if reviewed else "reviewed  nothing yet: `--verdicts` takes people's")
    render.print_text()
    render.print_text(f"report    {shlex.quote(str(output))}, {render.size(output.stat().st_size)}, needs no network")
    render.print_text(f"tables    {shlex.quote(str(output.with_suffix('')))}/report.json, *.csv, flagged.parquet")
