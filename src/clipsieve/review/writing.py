"""Verdicts from a page into the ledger: what stands is durable, what cannot is told why, and leases follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clipsieve.review.catalog import Catalog
from clipsieve.review.deciding import SentVerdict, as_row, moment, why_no_undo, why_refused
from clipsieve.review.options import DeskOptions
from clipsieve.review.records import Choice, OpenedSession, VerdictRow
from clipsieve.review.standing import Standing

if TYPE_CHECKING:
    from clipsieve.review.ledger import Ledger

__all__ = ["WrittenDown", "write_down"]


@dataclass(frozen=True, slots=True)
class WrittenDown:
    """What became of some verdicts.

    Attributes
    ----------
    accepted : tuple of str
        Their ids: they are durable, now or since they were sent before.
    refused : tuple of (str, str)
        Ids of the others, and why they cannot stand.
    """

    accepted: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def write_down(
    sent: Sequence[SentVerdict],
    session: OpenedSession,
    *,
    catalog: Catalog,
    standing: Standing,
    ledger: Ledger,
    options: DeskOptions,
) -> WrittenDown:
    """Write verdicts into the ledger, in their order.

    Parameters
    ----------
    sent : sequence of SentVerdict
        Of one person, in the order in which they were made.
    session : OpenedSession
        Whose.
    catalog, standing, ledger, options
        Of the review.

    Raises
    ------
    LedgerError
        If the ledger cannot be written: then none of them is, and the same ones may be sent again.
    """
    now, rows, refused = datetime.now(UTC), list[VerdictRow](), list[tuple[str, str]]()
    latest: dict[str, datetime] = {}
    for verdict in sent:
        why = why_refused(verdict, session, catalog, standing) or _why_no_undo(verdict, session, rows, standing)
        if why is not None:
            refused.append((verdict.verdict_id, why))
            continue
        before = latest.get(verdict.image_id) or standing.latest(verdict.image_id, session.annotator)
        made = moment(verdict, now, before)
        rows.append(as_row(verdict, session, catalog, guideline=options.guideline, made=made))
        latest[verdict.image_id] = max(made, before) if before is not None else made
    written = standing.write(rows) if rows else set()
    _follow([row for row in rows if row.verdict_id in written], session, ledger, options)
    taken = "another verdict was sent under this id"
    refused += [(row.verdict_id, taken) for row in rows if row.verdict_id not in written]
    return WrittenDown(tuple(row.verdict_id for row in rows if row.verdict_id in written), tuple(refused))


def _why_no_undo(
    verdict: SentVerdict, session: OpenedSession, rows: Sequence[VerdictRow], standing: Standing
) -> str | None:
    if verdict.choice is not Choice.UNDO or verdict.undoes is None:
        return None
    of_batch = {row.verdict_id: row for row in rows}
    return why_no_undo(verdict, session, of_batch.get(verdict.undoes) or standing.known(verdict.undoes))


def _follow(rows: Sequence[VerdictRow], session: OpenedSession, ledger: Ledger, options: DeskOptions) -> None:
    """Give back what was decided, and hold again what was taken back: the person has it before them."""
    undone = {row.image_id for row in rows if row.choice is Choice.UNDO}
    decided = {row.image_id for row in rows} - undone
    if decided:
        ledger.release(sorted(decided), session.holder)
    if undone:
        per_image = options.reviews_per_image
        ledger.lease(sorted(undone), session.holder, n=len(undone), per_image=per_image, ttl_s=options.lease_s)
