"""What the page's script asks, and what it gets."""

from datetime import UTC, datetime, timedelta

import pytest

from clipsieve.errors import ModelError, NotAllowedError, RunConflictError, UsageError
from clipsieve.review.records import Choice, QueueName, QueueSpec, Voice
from review_client import HOSTILE, SHA, ledger_fault, verdict


def test_the_state_and_the_summary(reviewer):
    state = reviewer.get("/api/state").json()
    assert (state["annotator"], state["queues"][0]["name"]) == ("ann", "highest")
    assert reviewer.get("/api/summary").json()["agreement"] == {"cohen": [], "krippendorff": None, "n_units": 0}


def test_images_are_taken_as_records(reviewer, small_desk):
    got = reviewer.post("/api/take", {"queue": {"name": "class", "value": "knife"}, "n": 2, "skip": [7]}).json()
    assert [item["row"] for item in got["items"]] == [0, 1]
    assert got["items"][0]["picture"] == f"/images/0/{SHA[:16]}"
    assert small_desk.asked[-1] == ("take", (QueueSpec(QueueName.CLASS, "knife"), 2, [7]))


def test_a_decision_arrives_as_it_was_made(reviewer, small_desk):
    full = {
        "sha256": SHA,
        "voice": "adjudication",
        "concepts": ["gun", "a'; DROP TABLE verdicts; --"],
        "note": HOSTILE,
        "score": 0.25,
    }
    sent = verdict(choice="remove", made="2026-11-28T12:00:00.5+02:00", duration_s=1.5, queue="highest", **full)
    answer = reviewer.post("/api/verdicts", {"verdicts": [sent]}).json()
    assert abs(datetime.now(UTC) - datetime.fromisoformat(answer.pop("now"))) < timedelta(minutes=1)
    assert answer == {"accepted": [sent["verdict_id"]], "refused": [], "progress": {"mine": 1}}
    got = small_desk.asked[-1][1][0]
    assert (got.choice, got.voice, got.concepts) == (Choice.REMOVE, Voice.ADJUDICATION, tuple(full["concepts"]))
    assert (got.made.hour, got.made.tzinfo, got.note, got.score) == (10, UTC, HOSTILE, 0.25)
    assert got.sha256 == SHA


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("search", {"text": "a knife on a table"}),
        ("similar", {"row": 1, "n": 2}),
        ("group", {"row": 1, "min_similarity": 0.9}),
    ],
)
def test_images_are_found(reviewer, path, asked):
    answer = reviewer.post(f"/api/{path}", asked)
    assert answer.status_code == 200
    assert answer.json()["items"][0]["caption"] == HOSTILE


def test_images_are_given_back(reviewer, small_desk):
    assert reviewer.post("/api/release", {"rows": [1, 2]}).json() == {}
    assert small_desk.asked[-1] == ("release", [1, 2])


def test_images_are_kept_for_who_still_has_them(reviewer, small_desk):
    assert reviewer.post("/api/renew", {"rows": [1, 2]}).json() == {"lost": []}
    assert small_desk.asked[-1] == ("renew", [1, 2])
    assert reviewer.post("/api/renew", {"rows": list(range(201))}).status_code == 422


def test_a_picture_is_a_picture(reviewer):
    answer = reviewer.get(f"/images/0/{SHA[:16]}/small.webp")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.headers["cache-control"].startswith("private")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (UsageError("u"), 400),
        (NotAllowedError("n"), 403),
        (RunConflictError("c"), 409),
        (ledger_fault(), 503),
        (ModelError("m"), 503),
    ],
)
def test_an_error_of_the_desk_comes_in_words(reviewer, small_desk, fault, status):
    small_desk.fault = fault
    answer = reviewer.get("/api/state")
    assert (answer.status_code, answer.json()) == (status, {"error": fault.what, "hint": fault.hint})
    page = reviewer.get("/")
    assert page.status_code == status
    assert page.headers["content-type"].startswith("text/html")
    assert fault.what in page.text


def test_a_state_the_desk_cannot_give_is_no_secret_of_the_desk(reviewer):
    answer = reviewer.post("/api/learn", {})
    assert (answer.status_code, answer.json()["hint"]) == (409, "decide about some more")
