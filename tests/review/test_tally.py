"""Counting who did how much."""

from datetime import timedelta

import pytest

from clipsieve.review.tally import Tally
from verdict_rows import START, row


def test_a_row_counts_once_and_an_undo_is_no_verdict():
    one, other = row("a.png", "keep", duration_s=2.0, queue="highest"), row("b.png", "remove", at=9, duration_s=4.0)
    back = row("b.png", "undo", at=11, undoes=other.verdict_id)
    tally = Tally()
    for _ in range(2):
        tally.add([one, other, back])
    assert tally.by_queue == {"highest": 1, "elsewhere": 1}
    assert tally.annotators() == ["Ann"]
    found = tally.of("Ann")
    assert (found["n_undone"], found["median_s"], found["total_s"]) == (1, 4.0, 6.0)
    assert found["last"] == (START + timedelta(seconds=11)).isoformat(timespec="seconds")


def test_the_time_of_a_day_is_that_days_alone_and_an_absence_is_no_work():
    tally = Tally()
    tally.add([row("a.png", "keep", duration_s=3.0), row("b.png", "keep", duration_s=5000.0)])
    assert tally.seconds_on("Ann", START.date()) == pytest.approx(3)
    assert tally.seconds_on("Ann", START.date() + timedelta(days=1)) == 0
    assert tally.seconds_on("Bob", START.date()) == 0
