"""`clipsieve datasheet`: the written answer for the data set's documentation."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Command
from clipsieve.cli.progress import ProgressBar
from clipsieve.cli.report_options import report_options

if TYPE_CHECKING:
    from clipsieve.store import RunPath

__all__ = ["command"]


@click.command(
    cls=Command,
    name="datasheet",
    short_help="Answer the datasheet's question on offensive content.",
    examples=[
        "clipsieve datasheet run",
        "clipsieve datasheet run -o datasheet --verdicts verdicts.csv",
        "clipsieve datasheet run -o sheet --card README.md --croissant own.json",
    ],
)
@options.run_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write all forms of the answer here.  [default: the answer alone, on stdout]",
)
@click.option("--card", type=click.Path(path_type=Path), metavar="FILE", help="A data set card to add the section to.")
@click.option("--croissant", type=click.Path(path_type=Path), metavar="FILE", help="A Croissant file to add to.")
@report_options
@options.quiet
def command(
    run: RunPath,
    output: Path | None,
    card: Path | None,
    croissant: Path | None,
    name: str | None,
    verdicts: str | None,
    *,
    quiet: bool,
    **told: Any,  # noqa: ANN401
) -> None:
    """Answer whether the data set contains data that might be offensive.

    From the figures of the report: Markdown for a datasheet, a section for a data set card, and Croissant metadata. Every number
    in it names its row of `report.json`, which lies beside it. What was not looked at is said in words.
    """
    if output is None and (card or croissant):
        raise click.UsageError("`--card` and `--croissant` need `-o`: what they name is read, and never changed")
    from clipsieve.cli.verdict_places import load_verdicts
    from clipsieve.outputs import ReportOptions, write_answer, write_datasheet
    from clipsieve.store import Run

    opened = Run.open(run)
    options_ = ReportOptions(scores_name=name, verdicts=load_verdicts(opened, verdicts), has_thumbnails=False, **told)
    with ProgressBar("reporting", quiet=quiet) as bar:
        found = write_datasheet(opened, output, options_, card=card, croissant=croissant, on_progress=bar.update)
    for warning in found.warnings:
        render.print_warning(warning)
    if output is None:
        sys.stdout.write(render.visible(write_answer(found.report)))
        return
    place = shlex.quote(str(output))
    render.print_text(f"answer     {place}/datasheet.md")
    render.print_text(f"card       {place}/dataset-card.md")
    render.print_text(f"croissant  {place}/croissant.json")
    render.print_text(f"figures    {place}/report.json")
    render.print_text("read the answer before you publish it: it says what was not looked at, and you may know more")
