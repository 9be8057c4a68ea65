"""Where verdicts are named on the command line: a table, a ledger, or the run's own ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clipsieve.cli import render
from clipsieve.errors import UsageError

if TYPE_CHECKING:
    from clipsieve.engines import ImageVerdicts, Ratings
    from clipsieve.engines.verdicts import Verdict
    from clipsieve.review.ledger import Ledger
    from clipsieve.store import Run

__all__ = ["NONE", "is_ledger", "load_ratings_from_ledger", "load_sample", "load_verdicts", "open_named_ledger"]

NONE = "none"
_SQLITE = b"SQLite format 3\0"  # how every file of SQLite begins, https://sqlite.org/fileformat.html
_SCHEMES = ("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:")


def is_ledger(text: str) -> bool:
    """Return whether a text names a ledger: a URL of a database, or a file of SQLite, told by its content."""
    if _is_url(text):
        return True
    try:
        with Path(text).open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except (OSError, ValueError):
        return False  # whoever reads it next says why


def _is_url(text: str) -> bool:
    return text.lower().startswith(tuple(f"{scheme}//" for scheme in _SCHEMES))


def shown_name(text: str) -> Path:
    """Return what a ledger may be called in a report: the file, or the usual name for one behind a URL."""
    from clipsieve.review.flows import LEDGER_FILE

    return Path(LEDGER_FILE) if _is_url(text) else Path(text)


@contextmanager
def open_named_ledger(runs: Sequence[Run], text: str) -> Iterator[Ledger | None]:
    """Open a ledger to read the verdicts on the first of some runs that has any; None if there are none.

    A run whose review has never begun has none anywhere.
    """
    from clipsieve.review.keys import find_run_key
    from clipsieve.review.ledger import open_ledger

    for key in dict.fromkeys(map(find_run_key, runs)):
        if key is not None:
            with open_ledger(text if _is_url(text) else Path(text), key) as ledger:
                if ledger.rows():
                    yield ledger
                    return
    yield None


def load_verdicts(run: Run, given: str | None) -> ImageVerdicts | None:
    """Return the verdicts that somebody named, else those in the run's own ledger, if there are any; says so on stderr.

    `none` leaves them out.
    """
    from clipsieve.engines import read_image_verdicts
    from clipsieve.review.flows import LEDGER_FILE, image_verdicts

    if given == NONE:
        return None
    own = run.path / LEDGER_FILE
    text = given if given is not None else str(own)
    if given is None and not is_ledger(text):
        return None
    if not is_ledger(text):
        return read_image_verdicts(text)
    with open_named_ledger([run], text) as ledger:
        if ledger is None:
            if given is not None:
                render.print_warning(f"the ledger `{shown_name(text)}` holds no verdicts on this run")
            return None
        found = image_verdicts(ledger, path=shown_name(text), is_file=not _is_url(text))
    if given is None:
        n_open = sum(verdict.unwanted is None for verdict in found.by_image.values())
        undecided = f", {n_open:,} of them undecided" if n_open else ""
        counts = f"{render.count(len(found.by_image), 'image')}{undecided}"
        render.print_note(f"using the verdicts in `{own}`: {counts} (`--verdicts none` leaves them out)")
    return found


def load_sample(run: Run, text: str) -> tuple[str, tuple[Verdict, ...]] | None:
    """Return the random audit in a ledger, and what it is called; None if the text names no ledger."""
    from clipsieve.review.flows import sample_verdicts

    if not is_ledger(text):
        return None
    name = str(shown_name(text))
    with open_named_ledger([run], text) as ledger:
        sample = sample_verdicts(ledger) if ledger is not None else ()
    if not sample:
        raise UsageError(
            f"`{name}` has no verdicts on a random sample",
            hint="work on the queue `audit` in `clipsieve review RUN`, or draw a sample with `--plan`",
        )
    return name, sample


def load_ratings_from_ledger(runs: Sequence[Run], text: str, *, random_only: bool) -> Ratings:
    """Return the decided images of a ledger as labels; of the random audit alone, says how many were left out."""
    from clipsieve.review.flows import audit_labels, ratings

    name = shown_name(text)
    with open_named_ledger(runs, text) as ledger:
        if ledger is None:
            raise UsageError(
                f"`{name}` holds no verdicts on this run", hint="review some images with `clipsieve review RUN`"
            )
        if not random_only:
            return ratings(ledger, path=name)
        found = audit_labels(ledger, path=name)
    if found.n_left_out:
        render.print_warning(
            f"{found.n_left_out:,} of {found.n_looked_at:,} images of the audit were left out, so that each stratum is drawn "
            "from as often: go on with the audit, and fewer will be"
        )
    return found.ratings
