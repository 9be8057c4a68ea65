"""The verdicts as rows of a table: added, read, never changed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from clipsieve.errors import LedgerError
from clipsieve.review.ledger.database import Database
from clipsieve.review.ledger.gather import Gathered
from clipsieve.review.ledger.tables import verdicts
from clipsieve.review.ledger.texts import restored, restored_or_none, stored, stored_or_none
from clipsieve.review.records import MAX_ID_CHARS, MAX_NAME_CHARS, MAX_NOTE_CHARS, Choice, VerdictRow, Voice

__all__ = ["Verdicts"]

_CHOICES = {str(choice): choice for choice in Choice}
_VOICES = {str(voice): voice for voice in Voice}
_READ = [column for column in verdicts.columns if column.name != "run_key"]
_CHUNK = 500  # ids asked about at once


class Verdicts:
    """The verdicts of one run.

    Parameters
    ----------
    database : Database
        With the newest schema.
    run_key : str
        Which run.
    """

    def __init__(self, database: Database, run_key: str) -> None:
        self._database = database
        self._run_key = run_key
        # Under one lock for each run, numbers are given and become visible in the same order: who reads on from the last
        # number that they saw misses none.
        self._lock = f"verdicts of {run_key}"
        self._gathered = Gathered(self._write)
        self._insert = database.insert(verdicts).on_conflict_do_nothing(index_elements=["run_key", "verdict_id"])

    def append(self, rows: Sequence[VerdictRow]) -> frozenset[str]:
        """Write rows down, all or none, and return the ids of those that were new; see `Ledger.append`."""
        values = [self._values(row) for row in rows]
        if not values:
            return frozenset()
        return frozenset(map(restored, self._gathered.append(values)))

    def _write(self, values: list[dict[str, Any]]) -> set[str]:
        ids = list(dict.fromkeys(row["verdict_id"] for row in values))
        query = sa.select(verdicts.c.verdict_id).where(verdicts.c.run_key == self._run_key)
        with self._database.writing(self._lock) as connection:
            # Nobody else adds rows of this run meanwhile. To have the database return the new ones costs ten times as much.
            known: set[str] = set()
            for start in range(0, len(ids), _CHUNK):
                chunk = ids[start : start + _CHUNK]
                known.update(connection.execute(query.where(verdicts.c.verdict_id.in_(chunk))).scalars())
            connection.execute(self._insert, values)
        return set(ids) - known

    def _values(self, row: VerdictRow) -> dict[str, Any]:
        why = _why_not(row)
        if why is not None:
            raise LedgerError(f"a verdict cannot be written down: {why}", state="nothing was written")
        return {
            "run_key": self._run_key,
            "verdict_id": stored(row.verdict_id),
            "image_id": stored(row.image_id),
            "sha256": stored_or_none(row.sha256),
            "annotator": stored(row.annotator),
            "choice": str(row.choice),
            "made": row.made,
            "voice": str(row.voice),
            "undoes": stored_or_none(row.undoes),
            "concepts": json.dumps(row.concepts),
            "note": stored(row.note),
            "guideline": stored(row.guideline),
            "classifier": stored_or_none(row.classifier),
            "score": row.score,
            "duration_s": row.duration_s,
            "queue": stored_or_none(row.queue),
            "group_id": stored_or_none(row.group_id),
        }

    def any(self) -> bool:
        """Return whether there is one; see `Ledger.has_verdicts`."""
        query = sa.select(verdicts.c.seq).where(verdicts.c.run_key == self._run_key).limit(1)
        with self._database.reading() as connection:
            return connection.scalar(query) is not None

    def rows(self, after: int) -> list[tuple[int, VerdictRow]]:
        """Return the rows after a number, in the order in which they were written; see `Ledger.rows`."""
        query = sa.select(*_READ).where(verdicts.c.run_key == self._run_key, verdicts.c.seq > after)
        with self._database.reading() as connection:
            return [(found[0], _row(*found[1:])) for found in connection.execute(query.order_by(verdicts.c.seq))]


def _why_not(row: VerdictRow) -> str | None:
    """Return what makes a row one that no page or file of clipsieve's would hold, or None."""
    is_undo = row.choice is Choice.UNDO
    reasons = {
        f"its id has not 1 to {MAX_ID_CHARS} characters": not 1 <= len(row.verdict_id) <= MAX_ID_CHARS,
        "it names no image": not row.image_id,
        f"its annotator has not 1 to {MAX_NAME_CHARS} characters": not 1 <= len(row.annotator) <= MAX_NAME_CHARS,
        f"its note has more than {MAX_NOTE_CHARS:,} characters": len(row.note) > MAX_NOTE_CHARS,
        "its time has no zone": row.made.utcoffset() is None,
        "it takes back another, and does not say which": is_undo and not row.undoes,
        "it names another to take back, but is no undo": not is_undo and row.undoes is not None,
        "its score is not between 0 and 1": row.score is not None and not 0 <= row.score <= 1,
        "its duration is no number of seconds": row.duration_s is not None
        and not (math.isfinite(row.duration_s) and row.duration_s >= 0),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _row(  # in the order of the columns, which is that of the record
    verdict_id: str, image_id: str, sha256: str | None, annotator: str, choice: str, made: Any, voice: str,  # noqa: ANN401
    undoes: str | None, concepts: str, *rest: Any,  # noqa: ANN401
) -> VerdictRow:  # fmt: skip
    note, guideline, classifier, score, duration_s, queue, group_id = rest
    return VerdictRow(
        restored(verdict_id),
        restored(image_id),
        restored_or_none(sha256),
        restored(annotator),
        _CHOICES[choice],
        made,
        _VOICES[voice],
        restored_or_none(undoes),
        () if concepts == "[]" else tuple(json.loads(concepts)),
        restored(note),
        restored(guideline),
        restored_or_none(classifier),
        score,
        duration_s,
        restored_or_none(queue),
        restored_or_none(group_id),
    )
