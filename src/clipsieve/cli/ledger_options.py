"""Options of the commands that open a ledger of verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger
    from clipsieve.store import Run

__all__ = ["ledger", "open_ledger_of"]

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

    return open_ledger(place or Path(run.path) / "verdicts.db", run_key(run))
