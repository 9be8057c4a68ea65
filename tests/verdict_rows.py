"""Rows of a ledger that tests make for themselves."""

import uuid
from datetime import UTC, datetime, timedelta

from clipsieve.review.records import Choice, VerdictRow

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def row(image_id: str, choice: Choice | str, annotator: str = "Ann", *, at: int = 0, **facts: object) -> VerdictRow:
    """Return a verdict; `at` is its second, and decides its id together with everything else."""
    made = START + timedelta(seconds=at)
    verdict_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{image_id} {choice} {annotator} {at}"))
    given = {"verdict_id": verdict_id, "sha256": None, "made": made} | facts
    return VerdictRow(image_id=image_id, annotator=annotator, choice=Choice(choice), **given)
