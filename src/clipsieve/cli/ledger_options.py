"""Options of the commands that open a ledger of verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger
    from clipsieve.store import Run

__all__ = ["ledger", "open_ledger_of", "place_of"]

ledger = click.option(
    "--ledger",
    "place",
    metavar="FILE_OR_URL",
    help="Where verdicts are: a SQLite file, or postgresql://USER@HOST/NAME.  [default: RUN/verdicts.db]",
)


def open_ledger_of(run: Run, place: str | None) -> Ledger:
    """Open the ledger that a person named, or the run's own; it is made if it is not there."""
    from clipsieve.review.keys import run_key
    from clipsieve.review.ledger import open_ledger

    return open_ledger(place_of(run, place), run_key(run))


def place_of(run: Run, place: str | None) -> str | Path:
    """Return the URL or file that a person named, or where the run's own ledger lies, there or not."""
    from clipsieve.engines.verdict_files import LEDGER_FILE
    from clipsieve.review.local_run import local_folder

    if place is None:
        return local_folder(run) / LEDGER_FILE
    return place if "://" in place else Path(place)
