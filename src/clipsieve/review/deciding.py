"""From a decision as a page sends it to a row of the ledger, or to the reason why it cannot stand."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from clipsieve.review.catalog import Catalog
from clipsieve.review.records import Choice, OpenedSession, Role, VerdictRow, Voice

__all__ = ["SentVerdict", "as_row", "why_refused"]


@dataclass(frozen=True, slots=True)
class SentVerdict:
    """One decision as a page sends it: a row of the ledger without what only the desk knows.

    Attributes
    ----------
    row : int
        Of the run, as it was shown.
    verdict_id, image_id, choice, made, voice, undoes, concepts, note, classifier, score, duration_s, queue, group_id
        See `VerdictRow`.
    """

    row: int
    verdict_id: str
    image_id: str
    choice: Choice
    made: datetime
    voice: Voice = Voice.REVIEW
    undoes: str | None = None
    concepts: tuple[str, ...] = ()
    note: str = ""
    classifier: str | None = None
    score: float | None = None
    duration_s: float | None = None
    queue: str | None = None
    group_id: str | None = None


def why_refused(sent: SentVerdict, session: OpenedSession, catalog: Catalog) -> str | None:
    """Return why a decision cannot stand, in words; None if it can."""
    row = _row(sent, catalog)
    if row is None:
        return "no image of this run has this id"
    if catalog.is_blocked[row]:
        return "the image is on the block list"
    if sent.voice is Voice.ADJUDICATION and session.role is not Role.ADJUDICATOR:
        return "only an adjudicator settles what others differ about"
    if (sent.choice is Choice.UNDO) != (sent.undoes is not None):
        return "an undo names the decision that it takes back, and nothing else does"
    return None


def _row(sent: SentVerdict, catalog: Catalog) -> int | None:
    """Return the row of an image: where it was shown, or wherever it is now."""
    is_there = 0 <= sent.row < catalog.n and catalog.image_id(sent.row) == sent.image_id
    return sent.row if is_there else catalog.row_of(sent.image_id)


def as_row(sent: SentVerdict, session: OpenedSession, catalog: Catalog, *, guideline: str, now: datetime) -> VerdictRow:
    """Return the row of the ledger that a decision becomes.

    Parameters
    ----------
    sent : SentVerdict
        That can stand.
    session : OpenedSession
        Whose decision it is.
    catalog : Catalog
        Of the run.
    guideline : str
        Version of the instructions.
    now : datetime
        UTC; no decision is later than that.
    """
    row = _row(sent, catalog)
    return VerdictRow(
        verdict_id=str(uuid.UUID(sent.verdict_id)),
        image_id=sent.image_id,
        sha256=None if row is None else catalog.sha256(row),
        annotator=session.annotator,
        choice=sent.choice,
        # A clock that is ahead would let this decision win over later ones.
        made=min(sent.made.astimezone(UTC), now),
        voice=sent.voice,
        undoes=None if sent.undoes is None else str(uuid.UUID(sent.undoes)),
        concepts=sent.concepts,
        note=sent.note,
        guideline=guideline,
        classifier=sent.classifier,
        score=sent.score,
        duration_s=sent.duration_s,
        queue=sent.queue,
        group_id=sent.group_id,
    )
