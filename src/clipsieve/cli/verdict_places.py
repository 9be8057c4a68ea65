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
    from clipsieve.review.flows import AuditLabels
    from clipsieve.review.ledger import Ledger
    from clipsieve.review.reach import Audit
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
    from clipsieve.engines.verdict_files import LEDGER_FILE

    return Path(LEDGER_FILE) if _is_url(text) else Path(text)


@contextmanager
def open_named_ledger(runs: Sequence[Run], text: str) -> Iterator[tuple[Ledger | None, Run]]:
    """Open a ledger to read the verdicts on the first of some runs that has any, and say which; None if there are none.

    A run whose review has never begun has none anywhere.
    """
    from clipsieve.review.keys import find_run_key
    from clipsieve.review.ledger import open_ledger

    for run in runs:
        key = find_run_key(run)
        if key is not None:
            with open_ledger(text if _is_url(text) else Path(text), key) as ledger:
                if ledger.has_verdicts():
                    yield ledger, run
                    return
    yield None, runs[0]


def load_verdicts(run: Run, given: str | None) -> ImageVerdicts | None:
    """Return the verdicts that somebody named, else those in the run's own ledger, if there are any; says so on stderr.

    `none` leaves them out.
    """
    from clipsieve.engines import read_image_verdicts
    from clipsieve.engines.verdict_files import LEDGER_FILE
    from clipsieve.review.flows import image_verdicts
    from clipsieve.store import is_remote
    from clipsieve.store.files import exists

    if given == NONE:
        return None
    own = run.path / LEDGER_FILE
    if given is None and is_remote(own) and exists(own):
        raise UsageError(
            f"`{own}` may hold verdicts, and a database cannot be read behind a URL",
            hint="copy it to this machine and name the copy with `--verdicts`, or leave verdicts out with `--verdicts none`",
        )
    text = given if given is not None else str(own)
    if given is None and not is_ledger(text):
        return None
    if not is_ledger(text):
        return read_image_verdicts(text)
    with open_named_ledger([run], text) as (ledger, _):
        if ledger is None:
            if given is not None:
                render.print_warning(f"the ledger `{shown_name(text)}` holds no verdicts on this run")
            return None
        found = image_verdicts(ledger, run, path=shown_name(text), is_file=not _is_url(text))
    if found.n_elsewhere:
        images = render.count(found.n_elsewhere, "image")
        render.print_warning(f"verdicts on {images} were left out: the files were replaced since, or are gone")
    if given is None:
        n_open = sum(verdict.unwanted is None for verdict in found.by_image.values())
        undecided = f", {n_open:,} of them undecided" if n_open else ""
        counts = f"{render.count(len(found.by_image), 'image')}{undecided}"
        render.print_note(f"using the verdicts in `{own}`: {counts} (`--verdicts none` leaves them out)")
    return found


def load_sample(run: Run, text: str) -> tuple[str, tuple[Verdict, ...]] | None:
    """Return the random audit in a ledger, and what it is called; None if the text names no ledger.

    Says on stderr how far the audit is.
    """
    from clipsieve.review.audit import check_fits
    from clipsieve.review.flows import read_audit
    from clipsieve.review.reach import Audit

    if not is_ledger(text):
        return None
    name = str(shown_name(text))
    with open_named_ledger([run], text) as (ledger, _):
        audit = read_audit(ledger, run) if ledger is not None else Audit()
    if not audit.n_reached:
        raise UsageError(
            f"`{name}` has no verdicts on a random sample",
            found="nobody has worked on the queue `audit` yet",
            hint="work on the queue `audit` in `clipsieve review RUN`, or draw a sample with `--plan`",
        )
    check_fits(run, audit.verdicts, name)
    render.print_note(_how_far(audit))
    return name, audit.verdicts


def load_ratings_from_ledger(
    runs: Sequence[Run], text: str, *, random_only: bool, scores_name: str | None = None
) -> Ratings:
    """Return the decided images of a ledger as labels.

    Of the random audit alone, which can vouch for these scores of the first run, says how far it is and what was left out.
    """
    from clipsieve.engines.score_facts import chosen_scores, read_score_facts
    from clipsieve.review.flows import audit_labels, ratings

    name = shown_name(text)
    with open_named_ledger(runs, text) as (ledger, run):
        if ledger is None:
            raise UsageError(
                f"`{name}` holds no verdicts on this run", hint="review some images with `clipsieve review RUN`"
            )
        if not random_only:
            return ratings(ledger, run, path=name)
        tuned_on = read_score_facts(run, chosen_scores(run, scores_name)).tuned_on
        found = audit_labels(ledger, run, tuned_on=tuned_on, path=name)
    render.print_note(_how_far(found.audit))
    for doubt in _doubts(found):
        render.print_warning(doubt)
    return found.ratings


def _how_far(audit: Audit) -> str:
    n_sampled = len(audit.verdicts)
    open_ones = f", {audit.n_passed_over:,} of these still open" if audit.n_passed_over else ""
    later = "; later ones do not count yet" if audit.n_reached < n_sampled else ""
    return f"random audit: judged up to image {audit.n_reached:,} of {n_sampled:,}{open_ones}{later}"


def _doubts(found: AuditLabels) -> list[str]:
    doubts = []
    if found.audit.n_passed_over:
        doubts.append(
            f"{found.audit.n_passed_over:,} images of the audit were passed over: the promise holds only if they are like "
            "the others, and not those that were hard"
        )
    if not found.is_random:
        doubts.append(
            f"the classifier was tuned on {found.n_tuned_on:,} images of the audit: the promise holds only if chance decided "
            "which; learning in `clipsieve review RUN` holds a random half back by itself"
        )
    if found.n_left_out:
        is_open = len(found.audit.looked_at) < len(found.audit.verdicts)
        more = ": go on with the audit, and fewer will be" if is_open else ""
        doubts.append(
            f"{found.n_left_out:,} of {found.n_looked_at:,} images of the audit were left out, so that each stratum is "
            f"drawn from as often{more}"
        )
    return doubts
