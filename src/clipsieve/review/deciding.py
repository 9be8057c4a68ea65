"""From a verdict as a page sends it to a row of the ledger, or to the reason why it cannot stand."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clipsieve.review.catalog import Catalog
from clipsieve.review.records import Choice, OpenedSession, Role, VerdictRow, Voice
from clipsieve.review.standing import Standing

__all__ = ["SentVerdict", "as_row", "moment", "row_of", "why_no_undo", "why_refused"]

CLOCK_TROUBLE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SentVerdict:
    """One verdict as a page sends it: a row of the ledger without what only the desk knows.

    Attributes
    ----------
    row : int
        Of the run, as it was shown.
    sha256 : str or None
        Of the file that was shown; None if the page does not say.
    verdict_id, image_id, choice, made, voice, undoes, concepts, note, classifier, score, duration_s, queue, group_id
        See `VerdictRow`.
    """

    row: int
    verdict_id: str
    image_id: str
    choice: Choice
    made: datetime
    sha256: str | None = None
    voice: Voice = Voice.REVIEW
    undoes: str | None = None
    concepts: tuple[str, ...] = ()
    note: str = ""
    classifier: str | None = None
    score: float | None = None
    duration_s: float | None = None
    queue: str | None = None
    group_id: str | None = None


def why_refused(sent: SentVerdict, session: OpenedSession, catalog: Catalog, standing: Standing) -> str | None:
    """Return why a verdict cannot stand, in words; None if it can."""
    row = row_of(sent, catalog)
    if row is None:
        return "no image of this run has this id"
    if (sent.choice is Choice.UNDO) != (sent.undoes is not None):
        return "an undo names the verdict that it takes back, and nothing else does"
    if sent.choice is Choice.UNDO:
        return None  # which one it takes back may come in the same batch: see `why_no_undo`
    if catalog.is_blocked[row]:
        return "the image is on the block list"
    if sent.sha256 is not None and catalog.sha256(row) not in (None, sent.sha256):
        return "the file was replaced since you saw it: look at the image again"
    if sent.voice is Voice.ADJUDICATION:
        return _why_not_settled(row, session, standing)
    return None


def _why_not_settled(row: int, session: OpenedSession, standing: Standing) -> str | None:
    if session.role is not Role.ADJUDICATOR:
        return "only an adjudicator settles what others differ about"
    # Nobody would be asked any more about an image that was settled before anybody spoke.
    return None if standing.n_voices[row] or standing.is_settled[row] else "nobody has a verdict on it that differs"


def why_no_undo(sent: SentVerdict, session: OpenedSession, target: VerdictRow | None) -> str | None:
    """Return why there is nothing that an undo could take back, in words; None if there is.

    Parameters
    ----------
    sent : SentVerdict
        An undo.
    session : OpenedSession
        Whose.
    target : VerdictRow or None
        The row that it names, if anybody knows it.
    """
    if target is None or target.choice is Choice.UNDO:
        return "there is no verdict of that name to take back"
    if target.annotator != session.annotator or target.image_id != sent.image_id:
        return "it is another's verdict, or about another image"
    return None


def row_of(sent: SentVerdict, catalog: Catalog) -> int | None:
    """Return the row of an image: where it was shown, or wherever it is now."""
    is_there = 0 <= sent.row < catalog.n and catalog.image_id(sent.row) == sent.image_id
    return sent.row if is_there else catalog.row_of(sent.image_id)


def moment(sent: SentVerdict, now: datetime, before: datetime | None) -> datetime:
    """Return when a verdict was made, as far as two clocks can tell, so that the last word of a person is their latest.

    A page's clock that is ahead would let a verdict win over later ones: none is later than now. A clock that was set back
    would let it lose against an earlier one: what arrives after the person's last verdict on the same image, and claims to be
    at most five minutes older, counts as newer. What claims more was made offline, on another device, and is older.

    Parameters
    ----------
    sent : SentVerdict
        With the page's time.
    now : datetime
        UTC, the server's.
    before : datetime or None
        When the person's last verdict on the same image was made.
    """
    made = min(sent.made.astimezone(UTC), now)
    if before is not None and timedelta(0) <= before - made <= CLOCK_TROUBLE:
        return before + timedelta(microseconds=1)
    return made


def as_row(
    sent: SentVerdict, session: OpenedSession, catalog: Catalog, *, guideline: str, made: datetime
) -> VerdictRow:
    """Return the row of the ledger that a verdict becomes.

    Parameters
    ----------
    sent : SentVerdict
        That can stand.
    session : OpenedSession
        Whose it is.
    catalog : Catalog
        Of the run.
    guideline : str
        Version of the instructions.
    made : datetime
        See `moment`.
    """
    row = row_of(sent, catalog)
    return VerdictRow(
        verdict_id=str(uuid.UUID(sent.verdict_id)),
        image_id=sent.image_id,
        sha256=sent.sha256 or (None if row is None else catalog.sha256(row)),
        annotator=session.annotator,
        choice=sent.choice,
        made=made,
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
