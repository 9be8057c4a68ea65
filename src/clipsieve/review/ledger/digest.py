"""What a set of verdicts is known by."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC
from operator import attrgetter

from clipsieve.review.records import VerdictRow

__all__ = ["verdict_digest"]


def verdict_digest(rows: Iterable[VerdictRow]) -> str:
    """Return the sha256, in hexadecimal, of rows as canonical JSON: the same rows in any order have the same digest.

    One line for each row, by `verdict_id`: keys sorted, no spaces, ASCII, times in UTC with microseconds.
    """
    digest = hashlib.sha256()
    for row in sorted(rows, key=attrgetter("verdict_id")):
        fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
        fields["made"] = row.made.astimezone(UTC).isoformat(timespec="microseconds")
        digest.update(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()
