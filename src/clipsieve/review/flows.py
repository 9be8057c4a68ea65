"""From a ledger to what the other steps take: verdicts by image, labels for tuning and thresholds, a judged sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsieve.engines.rating_files import Ratings
from clipsieve.engines.verdict_files import LEDGER_FILE, ImageVerdict, ImageVerdicts
from clipsieve.engines.verdicts import Verdict
from clipsieve.errors import UsageError
from clipsieve.review.audit import Vouching, check_fits, vouching
from clipsieve.review.consensus import Board
from clipsieve.review.ledger import verdict_digest
from clipsieve.review.reach import Audit, judge
from clipsieve.review.records import CurrentVerdict, VerdictRow
from clipsieve.review.versions import rows_about

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger
    from clipsieve.store import Run

__all__ = [
    "AuditLabels",
    "audit_labels",
    "image_verdicts",
    "labels_of",
    "ratings",
    "read_audit",
    "thin",
]

_WORK_ON_IT = (
    "work on the queue `audit` in `clipsieve review RUN`: only images drawn by chance can vouch for a threshold"
)
_LEARN_THERE = (
    "let the classifier learn in `clipsieve review RUN`, where it leaves images of the audit out to vouch for it"
)
_SEED = 0  # of the rounding in `thin`: the same verdicts give the same labels


@dataclass(frozen=True, slots=True, eq=False)
class AuditLabels:
    """Labels of images that were chosen by chance alone.

    Attributes
    ----------
    ratings : Ratings
        Of those images; label -1 where people looked and did not decide.
    audit : Audit
        The sample, and how far people have come with it.
    n_looked_at : int
        Images of it that somebody has looked at and that can vouch for the classifier.
    n_left_out : int
        Of those, the images that were left out, so that every stratum is drawn from as often.
    n_tuned_on : int
        Images of the sample that the classifier was tuned on.
    is_random : bool
        Whether the images are known to be a random part of the sample; False if the classifier was tuned on others than
        learning leaves to it.
    """

    ratings: Ratings
    audit: Audit
    n_looked_at: int
    n_left_out: int
    n_tuned_on: int
    is_random: bool


def image_verdicts(ledger: Ledger, run: Run, *, path: Path | None = None, is_file: bool = True) -> ImageVerdicts:
    """Return what holds for each image now, as `export` and `report` take it.

    Parameters
    ----------
    ledger : Ledger
        Of the run.
    run : Run
        As it is now: verdicts on files that it does not hold any more are left out.
    path : Path, optional
        What the ledger is called; `verdicts.db` by default.
    is_file : bool, default=True
        Whether it is a file that another person can be given.

    Raises
    ------
    LedgerError
        If it cannot be read.
    """
    everything = [row for _, row in ledger.rows()]
    rows = rows_about(run, everything)
    board = Board(rows)
    audit = judge(ledger.samples.newest(), rows, board)
    return ImageVerdicts(
        path=path or Path(LEDGER_FILE),
        sha256=verdict_digest(rows),
        by_image={current.image_id: _image_verdict(current) for current in board.all()},
        sample=audit.verdicts or None,
        is_file=is_file,
        n_elsewhere=len({row.image_id for row in everything} - {row.image_id for row in rows}),
    )


def _image_verdict(current: CurrentVerdict) -> ImageVerdict:
    n_verdicts = len(current.by_annotator) + current.is_adjudicated
    who = (current.adjudicator,) if current.adjudicator is not None else tuple(current.by_annotator)
    return ImageVerdict(current.unwanted, who, max(n_verdicts, 1))


def read_audit(ledger: Ledger, run: Run) -> Audit:
    """Return the random audit with what people said of it, as far as they have come; see `judge`.

    Its verdicts are in the sample's own order, as `estimate_from_verdicts` takes them. An image that people looked at without a
    decision counts as one that somebody was unsure of. Empty if no sample was drawn.
    """
    rows = _rows(ledger, run)
    return judge(ledger.samples.newest(), rows, Board(rows))


def ratings(ledger: Ledger, run: Run, *, path: Path | None = None) -> Ratings:
    """Return the decided images of a ledger as labels, by their ids in the run.

    Parameters
    ----------
    ledger : Ledger
        Of the run.
    run : Run
        As it is now: verdicts on files that it does not hold any more are left out.
    path : Path, optional
        What the ledger is called; `verdicts.db` by default.

    Raises
    ------
    LedgerError
        If it cannot be read.
    UsageError
        If nothing is decided.
    """
    rows = _rows(ledger, run)
    decided = {c.image_id: int(c.unwanted) for c in Board(rows).all() if c.unwanted is not None}
    if not decided:
        raise UsageError(
            f"nobody has decided on an image yet in `{path or LEDGER_FILE}`",
            hint="review some with `clipsieve review RUN`",
        )
    return labels_of(decided, sha256=verdict_digest(rows), path=path)


def audit_labels(ledger: Ledger, run: Run, *, tuned_on: Collection[str] = (), path: Path | None = None) -> AuditLabels:
    """Return the labels of the random audit, thinned so that every image of the run was as likely to be among them.

    A promise about a threshold needs that. The audit draws more from some strata than from others; but within a stratum its
    order is random, so the first few that were looked at are a sample, too: see `thin`. Images that people chose to look at
    for their score, their concept, or because others differed, count only as far as the audit has come: see `judge`. Images
    that the classifier was tuned on never do, nor the others of that half of the sample: see `vouching`.

    Parameters
    ----------
    ledger : Ledger
        Of the run.
    run : Run
        As it is now.
    tuned_on : collection of str, default=()
        Digests of the images that the classifier was tuned on, as in `ScoreFacts`.
    path : Path, optional
        What the ledger is called; `verdicts.db` by default.

    Raises
    ------
    LedgerError, RunCorruptError
        If the ledger or the run cannot be read.
    UsageError
        If no sample was drawn, it was drawn from another state of the run, or no image of some stratum can vouch.
    """
    name = path or Path(LEDGER_FILE)
    rows = _rows(ledger, run)
    audit = judge(ledger.samples.newest(), rows, Board(rows))
    if not audit.verdicts:
        raise UsageError(
            f"`{name}` has no verdicts on a random sample", found="no sample was drawn yet", hint=_WORK_ON_IT
        )
    able = vouching(audit.verdicts, check_fits(run, audit.verdicts, name), tuned_on)
    looked_at = [verdict for verdict in audit.looked_at if verdict.image_id in able.image_ids]
    _check_strata(name, audit, looked_at, able)
    kept = thin(looked_at)
    labels = {verdict.image_id: -1 if verdict.unwanted is None else int(verdict.unwanted) for verdict in kept}
    found = labels_of(labels, sha256=verdict_digest(rows), path=path)
    n_left_out = len(looked_at) - len(kept)
    return AuditLabels(found, audit, len(looked_at), n_left_out, able.n_tuned_on, able.is_random)


def _check_strata(name: Path, audit: Audit, looked_at: Sequence[Verdict], able: Vouching) -> None:
    """Raise UsageError unless some image of every stratum can vouch."""
    strata = {verdict.stratum for verdict in audit.verdicts}
    n_bare = len(strata - {verdict.stratum for verdict in looked_at})
    if not n_bare:
        return
    which = f"{n_bare} of {len(strata)} strata of the sample" if looked_at else "a random sample"
    open_ids = {verdict.image_id for verdict in audit.verdicts} - {verdict.image_id for verdict in audit.looked_at}
    tuned = f", and the classifier was tuned on {able.n_tuned_on:,} of the sample" if able.n_tuned_on else ""
    raise UsageError(
        f"`{name}` has no verdicts on {which}{' that can vouch for these scores' if tuned else ''}",
        found=f"{len(audit.looked_at):,} of {len(audit.verdicts):,} images of the sample were looked at{tuned}",
        hint=_WORK_ON_IT if open_ids & able.image_ids else _LEARN_THERE,
    )


def thin(looked_at: Sequence[Verdict]) -> list[Verdict]:
    """Return the part of a stratified sample that holds the same share of each stratum.

    The share r is the smallest of those that were looked at; of a stratum of N images the first r * N stay. That is seldom a
    whole number: it is rounded up as often as its fraction says, by a fixed seed, so that an image of a small stratum is as
    likely to stay as any other.

    Parameters
    ----------
    looked_at : sequence of Verdict
        In the order of the sample, which is random within each stratum.
    """
    by_stratum: defaultdict[int, list[Verdict]] = defaultdict(list)
    for verdict in looked_at:
        by_stratum[verdict.stratum].append(verdict)
    rng, kept = np.random.default_rng(_SEED), set[int]()
    rate = min((len(group) / group[0].stratum_size for group in by_stratum.values()), default=0.0)
    for _, group in sorted(by_stratum.items()):
        n = int(rate * group[0].stratum_size + rng.random())
        kept.update(verdict.line for verdict in group[: min(n, len(group))])
    return [verdict for verdict in looked_at if verdict.line in kept]


def labels_of(labels: dict[str, int], *, sha256: str, path: Path | None = None) -> Ratings:
    """Return labels by image id, 1 unwanted, 0 wanted, -1 undecided, in the form that tuning and evaluation take."""
    n = len(labels)
    return Ratings(
        path=path or Path(LEDGER_FILE),
        sha256=sha256,
        image_column="image_id",
        rating_column="verdict",
        kind="label",
        is_smid=False,
        low=0.0,
        high=0.0,
        reverse=False,
        names=tuple(labels),
        rating=np.full(n, np.nan),
        labels=np.array(list(labels.values()), dtype=np.int64),
        classes=None,
        splits=None,
        lines=np.arange(1, n + 1, dtype=np.int64),
        are_ids=True,
    )


def _rows(ledger: Ledger, run: Run) -> list[VerdictRow]:
    """Return the rows that are about files that the run holds: others say nothing of what lies there now."""
    return rows_about(run, [row for _, row in ledger.rows()])
