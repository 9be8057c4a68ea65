"""`clipsieve verdicts`: what people decided, as files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsieve.cli import options, render
from clipsieve.cli.command import Group
from clipsieve.cli.ledger_options import ledger, open_ledger_of, place_of
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger
    from clipsieve.review.records import CurrentVerdict
    from clipsieve.store import Run, RunPath

__all__ = ["command"]


@click.group(
    cls=Group,
    name="verdicts",
    short_help="List, export and import what people decided.",
    examples=["clipsieve verdicts list run", "clipsieve verdicts export run -o verdicts.csv"],
)
def command() -> None:
    """List, export and import what people decided about the images of a run."""


@command.command(
    name="list",
    short_help="Count them, and say how well people agree.",
    examples=["clipsieve verdicts list run", "clipsieve verdicts list run --json"],
)
@options.run_argument
@ledger
@options.as_json
def list_(run: RunPath, place: str | None, *, as_json: bool) -> None:
    """Count the verdicts of each person, and say how well people agree.

    Agreement is measured on images that two or more have seen: 1 is full agreement, 0 what chance alone would give.
    """
    from clipsieve.review.consensus import Board
    from clipsieve.store import Run

    with _opened(Run.open(run), place) as found:
        facts = _facts([] if found is None else list(Board(row for _, row in found.rows()).all()))
    render.emit_json(facts) if as_json else _show(facts)


@command.command(
    name="export",
    short_help="Write them to a file.",
    examples=[
        "clipsieve verdicts export run -o verdicts.csv",
        "clipsieve verdicts export run -o decided.csv --current",
        "clipsieve verdicts export run -o tasks.json --as label-studio",
    ],
)
@options.run_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The file to write."
)
@click.option(
    "--as",
    "form",
    type=click.Choice(["csv", "label-studio"]),
    default="csv",
    show_default=True,
    help="CSV with all that is known, or JSON for Label Studio.",
)
@click.option("--current", is_flag=True, help="One line for each image: what holds now, not the history.")
@ledger
def export(run: RunPath, output: Path, form: str, place: str | None, *, current: bool) -> None:
    """Write the verdicts on RUN to a file, every row ever written, also those that were taken back.

    With --current, CSV with the columns that `--verdicts` of other commands takes.
    """
    from clipsieve.outputs.text_files import write_text
    from clipsieve.review.exchange import verdicts_as_text
    from clipsieve.store import Run

    opened = Run.open(run)
    with _opened(opened, place) as found:
        if found is None:
            raise UsageError(
                "there are no verdicts on this run",
                state="nothing was written",
                hint=f"make some: `clipsieve review {run}`",
            )
        text, n = verdicts_as_text(opened, found, form=form, current_only=current)
    write_text(output, text)
    render.print_text(f"wrote     {render.count(n, 'image' if current else 'row')} to {output}")


@command.command(
    name="import",
    short_help="Add those in a file.",
    examples=[
        "clipsieve verdicts import run verdicts.csv",
        "clipsieve verdicts import run export.json --annotator Ann --id-key name",
    ],
)
@options.run_argument
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--annotator", metavar="NAME", help="Who decided, where the file does not say.")
@click.option("--id-key", metavar="NAME", help="Entry of Label Studio's `data` that holds the image's id.")
@ledger
def import_(run: RunPath, file: Path, annotator: str | None, id_key: str | None, place: str | None) -> None:
    """Add the verdicts in FILE to those on RUN: CSV, or JSON that Label Studio exported.

    All or none: a file with images that are not in RUN is refused. The same file twice adds nothing.
    """
    from clipsieve.review.exchange import import_verdicts, read_verdict_file
    from clipsieve.store import Run

    opened = Run.open(run)
    rows = read_verdict_file(file, annotator=annotator, id_key=id_key)
    with open_ledger_of(opened, place) as found:
        report = import_verdicts(opened, found, rows, name=str(file))
    render.print_text(f"added     {render.count(report.n_new, 'verdict')} on {render.count(report.n_images, 'image')}")
    if report.n_new < report.n_rows:
        render.print_text(f"known     {render.count(report.n_rows - report.n_new, 'verdict')}: passed over")


@contextmanager
def _opened(run: Run, place: str | None) -> Iterator[Ledger | None]:
    """Open a ledger to read it; None if there is none, or none of its rows are about the run."""
    from clipsieve.cli.verdict_places import open_named_ledger

    where = place_of(run, place)
    if isinstance(where, Path) and not where.exists():
        if place is not None:
            raise UsageError(f"there is no ledger `{where}`")
        yield None
        return
    with open_named_ledger([run], str(where)) as (found, _):
        yield found


def _facts(verdicts: list[CurrentVerdict]) -> dict[str, Any]:
    from clipsieve.review.agreeing import count_choices, measure_agreement

    agreement = measure_agreement(verdicts)
    said = {
        name: {choice.value: n for choice, n in sorted(counts.items())}
        for name, counts in count_choices(verdicts).items()
    }
    return {
        "n_images": len(verdicts),
        "n_keep": sum(v.unwanted is False for v in verdicts),
        "n_remove": sum(v.unwanted is True for v in verdicts),
        "n_undecided": sum(v.unwanted is None for v in verdicts),
        "n_disputed": sum(v.is_disputed for v in verdicts),
        "n_adjudicated": sum(v.is_adjudicated for v in verdicts),
        "by_annotator": [{"annotator": name, **counts} for name, counts in said.items()],
        "cohen": [asdict(pair) for pair in agreement.cohen],
        "krippendorff": agreement.krippendorff,
        "n_seen_by_several": agreement.n_units,
    }


def _show(facts: dict[str, Any]) -> None:
    if not facts["n_images"]:
        render.print_text("nobody has decided on an image yet")
        return
    columns = [("annotator", "left"), ("keep", "right"), ("remove", "right"), ("unsure", "right")]
    rows = [
        (each["annotator"], *(f"{each.get(word, 0):,}" for word in ("keep", "remove", "unsure")))
        for each in facts["by_annotator"]
    ]
    render.print_table(columns, rows)
    render.print_text()
    decided = f"{facts['n_keep']:,} to keep, {facts['n_remove']:,} to remove, {facts['n_undecided']:,} undecided"
    render.print_text(f"decided   {render.count(facts['n_images'], 'image')}: {decided}")
    if facts["n_disputed"]:
        render.print_text(f"disputed  {render.count(facts['n_disputed'], 'image')}")
    if facts["n_seen_by_several"]:
        seen = render.count(facts["n_seen_by_several"], "image")
        render.print_text(
            f"agreement {_number(facts['krippendorff'])} (Krippendorff's alpha), on {seen} that several saw"
        )
        for each in facts["cohen"]:
            pair = f"{each['a']} and {each['b']}"
            render.print_text(f"          {_number(each['kappa'])} (Cohen's kappa) {pair}, on {each['n']:,}")


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"
