"""From a ledger to what the other steps take: verdicts by image, labels for tuning and thresholds, a judged sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsieve.engines.rating_files import Ratings
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.engines.verdicts import SampledImage, Verdict
from clipsieve.errors import UsageError
from clipsieve.review.consensus import Board
from clipsieve.review.ledger import verdict_digest
from clipsieve.review.records import CurrentVerdict, VerdictRow

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = [
    "LEDGER_FILE",
    "AuditLabels",
    "audit_labels",
    "image_verdicts",
    "labels_of",
    "ratings",
    "sample_verdicts",
    "thin",
]

LEDGER_FILE = "verdicts.db"  # in the run's folder; also what a database elsewhere is called before people
_SEED = 0  # of the rounding in `thin`: the same verdicts give the same labels


@dataclass(frozen=True, slots=True, eq=False)
class AuditLabels:
    """Labels of images that were chosen by chance alone.

    Attributes
    ----------
    ratings : Ratings
        Of those images; label -1 where people looked and did not decide.
    n_sampled, n_looked_at : int
        Images of the random audit, and how many of them somebody has looked at.
    n_left_out : int
        Images that were looked at and left out, so that every stratum is drawn from as often.
    """

    ratings: Ratings
    n_sampled: int
    n_looked_at: int
    n_left_out: int


def image_verdicts(ledger: Ledger, *, path: Path | None = None, is_file: bool = True) -> ImageVerdicts:
    """Return what holds for each image now, as `export` and `report` take it.

    Parameters
    ----------
    ledger : Ledger
        Of the run.
    path : Path, optional
        What the ledger is called; `verdicts.db` by default.
    is_file : bool, default=True
        Whether it is a file that another person can be given.

    Raises
    ------
    LedgerError
        If it cannot be read.
    """
    rows = _rows(ledger)
    board = _board(rows)
    sampled = ledger.samples.load()
    return ImageVerdicts(
        path=path or Path(LEDGER_FILE),
        sha256=verdict_digest(rows),
        by_image={current.image_id: _image_verdict(current) for current in board.all()},
        sample=tuple(_join(sampled, board)) if sampled else None,
        is_file=is_file,
    )


def _image_verdict(current: CurrentVerdict) -> ImageVerdict:
    n_verdicts = len(current.by_annotator) + current.is_adjudicated
    who = (current.adjudicator,) if current.adjudicator is not None else tuple(current.by_annotator)
    return ImageVerdict(current.unwanted, who, max(n_verdicts, 1))


def sample_verdicts(ledger: Ledger) -> tuple[Verdict, ...]:
    """Return the random audit with what people said of it, in its own order, as `estimate_from_verdicts` takes it.

    An image that people looked at without a decision counts as one that somebody was unsure of. Empty if no sample was
    drawn.
    """
    return tuple(_join(ledger.samples.load(), _board(_rows(ledger))))


def _join(sampled: Sequence[SampledImage], board: Board) -> Iterable[Verdict]:
    for line, image in enumerate(sampled, start=1):
        current = board.current(image.image_id)
        unwanted = None if current is None else current.unwanted
        is_unsure = current is not None and unwanted is None
        yield Verdict(line, image.image_id, image.stratum, image.stratum_size, image.flagged, unwanted, is_unsure)


def ratings(ledger: Ledger, *, random_only: bool = False, path: Path | None = None) -> Ratings:
    """Return the decided images of a ledger as labels, by their ids in the run.

    Parameters
    ----------
    ledger : Ledger
        Of the run.
    random_only : bool, default=False
        Whether to take images of the random audit alone: see `audit_labels`.
    path : Path, optional
        What the ledger is called; `verdicts.db` by default.

    Raises
    ------
    LedgerError
        If it cannot be read.
    UsageError
        If nothing is decided, or with `random_only` as for `audit_labels`.
    """
    if random_only:
        return audit_labels(ledger, path=path).ratings
    rows = _rows(ledger)
    decided = {c.image_id: int(c.unwanted) for c in _board(rows).all() if c.unwanted is not None}
    if not decided:
        raise UsageError(
            f"nobody has decided on an image yet in `{path or LEDGER_FILE}`",
            hint="review some with `clipsieve review RUN`",
        )
    return labels_of(decided, sha256=verdict_digest(rows), path=path)


def audit_labels(ledger: Ledger, *, path: Path | None = None) -> AuditLabels:
    """Return the labels of the random audit, thinned so that every image of the run was as likely to be among them.

    A promise about a threshold needs that. The audit draws more from some strata than from others; but within a stratum its
    order is random, so the first few that were looked at are a sample, too: see `thin`. Images that people chose to look at
    for their score, their concept, or because others differed, are never among them.

    Raises
    ------
    LedgerError
        If the ledger cannot be read.
    UsageError
        If no sample was drawn, or nobody has looked at an image of some stratum.
    """
    name = path or LEDGER_FILE
    rows = _rows(ledger)
    sample = list(_join(ledger.samples.load(), _board(rows)))
    hint = "work on the queue `audit` in `clipsieve review RUN`: only images drawn by chance can vouch for a threshold"
    if not sample:
        raise UsageError(f"`{name}` has no verdicts on a random sample", found="no sample was drawn yet", hint=hint)
    looked_at = [verdict for verdict in sample if verdict.unwanted is not None or verdict.is_unsure]
    bare = sorted({verdict.stratum for verdict in sample} - {verdict.stratum for verdict in looked_at})
    if bare:
        n_strata = len({verdict.stratum for verdict in sample})
        which = f"{len(bare)} of {n_strata} strata of the sample" if looked_at else "a random sample"
        raise UsageError(
            f"`{name}` has no verdicts on {which}",
            found=f"{len(looked_at):,} of {len(sample):,} images of the sample were looked at",
            hint=hint,
        )
    kept = thin(looked_at)
    labels = {verdict.image_id: -1 if verdict.unwanted is None else int(verdict.unwanted) for verdict in kept}
    found = labels_of(labels, sha256=verdict_digest(rows), path=path)
    return AuditLabels(found, len(sample), len(looked_at), len(looked_at) - len(kept))


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


def _rows(ledger: Ledger) -> list[VerdictRow]:
    return [row for _, row in ledger.rows()]


def _board(rows: Sequence[VerdictRow]) -> Board:
    board = Board()
    board.add(rows)
    return board
