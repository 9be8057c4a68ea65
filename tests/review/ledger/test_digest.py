"""What a set of verdicts is known by."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest

from clipsieve.review.ledger import verdict_digest
from clipsieve.review.records import Choice, VerdictRow, Voice

ROW = VerdictRow("v1", "a.jpg", None, "Ann", Choice.KEEP, datetime(2026, 1, 1, tzinfo=UTC))


def test_the_digest_is_that_of_the_rows_in_any_order():
    other = dataclasses.replace(ROW, verdict_id="v2", note="\ud800")
    assert verdict_digest([ROW, other]) == verdict_digest([other, ROW])
    assert verdict_digest([ROW]) != verdict_digest([ROW, other])
    # Pinned: files that were written hold it.
    assert verdict_digest([ROW]) == "d902acef98c0a5219a0f24e40a16510b4bbdce32c3947481d69f9050ac7c8c39"
    zoned = dataclasses.replace(ROW, made=ROW.made.astimezone(timezone(timedelta(hours=2))))
    assert verdict_digest([ROW]) == verdict_digest([zoned])


@pytest.mark.parametrize(
    "change",
    [
        {"choice": Choice.REMOVE}, {"voice": Voice.ADJUDICATION}, {"concepts": ("knife",)}, {"note": "n"}, {"score": 0.5},
        {"made": ROW.made + timedelta(microseconds=1)}, {"sha256": "ab"}, {"image_id": "b.jpg"},
    ],
)  # fmt: skip
def test_every_field_counts(change):
    assert verdict_digest([dataclasses.replace(ROW, **change)]) != verdict_digest([ROW])
