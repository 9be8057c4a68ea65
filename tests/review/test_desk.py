"""The desk as a whole: what is handed out, what is written down, what is found."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clipsieve.errors import RunConflictError, UsageError
from clipsieve.review.deciding import SentVerdict
from clipsieve.review.desk import Desk
from clipsieve.review.options import DeskOptions
from clipsieve.review.records import Choice, QueueName, QueueSpec, Role, Voice
from reviewed_runs import session

HIGHEST, UNCERTAIN = QueueSpec(QueueName.HIGHEST), QueueSpec(QueueName.UNCERTAIN)


def sent(item: dict, choice: Choice = Choice.KEEP, **more) -> SentVerdict:
    facts = {"verdict_id": str(uuid.uuid4()), "made": datetime.now(UTC)} | more
    return SentVerdict(row=item["row"], image_id=item["image_id"], choice=choice, **facts)


def decide_all(desk: Desk, who, queue: QueueSpec, choose, n: int = 100) -> list[dict]:
    items = desk.take(who, queue, n)["items"]
    answer = desk.decide(who, [sent(item, choose(item), queue=queue.name.value) for item in items])
    assert not answer["refused"]
    return items


def test_a_queue_is_handed_out_in_its_order_and_each_image_to_one(desk):
    first = desk.take(session("ann"), HIGHEST, 5)["items"]
    second = desk.take(session("bob"), HIGHEST, 5)["items"]
    again = desk.take(session("ann"), HIGHEST, 5, [item["row"] for item in first])["items"]
    rows = [item["row"] for item in first + second + again]
    assert len(set(rows)) == 15
    scores = desk.catalog.probability[rows]
    assert (np.diff(scores) <= 0).all()
    assert first[0]["score"] == pytest.approx(float(np.nanmax(desk.catalog.probability)))


def test_what_is_decided_counts_at_once_and_does_not_come_again(desk):
    who = session()
    items = desk.take(who, HIGHEST, 3)["items"]
    answer = desk.decide(who, [sent(items[0], Choice.REMOVE), sent(items[1]), sent(items[2], Choice.UNSURE)])
    assert len(answer["accepted"]) == 3
    assert answer["progress"]["mine"] == 3
    assert (answer["progress"]["kept"], answer["progress"]["removed"], answer["progress"]["disputed"]) == (1, 1, 1)
    rows = {item["row"] for item in desk.take(who, HIGHEST, 100)["items"]}
    assert rows.isdisjoint(item["row"] for item in items)
    assert len(rows) == int(desk.catalog.is_seen.sum()) - 3


def test_the_same_decision_twice_is_one(desk):
    who = session()
    verdict = sent(desk.take(who, HIGHEST, 1)["items"][0], Choice.REMOVE)
    for _ in range(3):
        assert desk.decide(who, [verdict, verdict])["accepted"]
    assert len(desk.ledger.rows()) == 1


def test_an_undo_gives_the_image_back(desk):
    who = session()
    item = desk.take(who, HIGHEST, 1)["items"][0]
    verdict = sent(item, Choice.REMOVE)
    desk.decide(who, [verdict])
    answer = desk.decide(who, [sent(item, Choice.UNDO, undoes=verdict.verdict_id)])
    assert answer["progress"]["removed"] == 0
    assert desk.take(who, HIGHEST, 1)["items"][0]["row"] == item["row"]
    assert len(desk.ledger.rows()) == 2


def test_nothing_is_written_about_what_is_not_there_or_not_theirs(desk):
    who = session("bob", Role.REVIEWER)
    item = desk.take(who, HIGHEST, 1)["items"][0]
    bad = [
        sent(item | {"image_id": "../../etc/passwd", "row": -5}),
        sent(item, voice=Voice.ADJUDICATION),
        sent(item, Choice.UNDO),
        sent(item, Choice.KEEP, undoes=str(uuid.uuid4())),
    ]
    answer = desk.decide(who, bad)
    assert [refused["verdict_id"] for refused in answer["refused"]] == [verdict.verdict_id for verdict in bad]
    assert not answer["accepted"]
    assert desk.ledger.rows() == []


def test_a_decision_is_about_the_image_that_was_shown_wherever_it_lies_now(desk):
    who = session()
    one, other = desk.take(who, HIGHEST, 2)["items"]
    desk.decide(who, [sent(one | {"row": other["row"]}, Choice.REMOVE)])
    row = desk.ledger.rows()[0][1]
    assert (row.image_id, row.sha256) == (one["image_id"], one["sha256"])


def test_a_clock_that_is_ahead_does_not_win_for_ever(desk):
    who = session()
    item = desk.take(who, HIGHEST, 1)["items"][0]
    desk.decide(who, [sent(item, Choice.REMOVE, made=datetime.now(UTC) + timedelta(days=365))])
    desk.decide(who, [sent(item, Choice.KEEP)])
    assert desk.standing.board.current(item["image_id"]).unwanted is False


def test_two_reviews_of_each_image_and_somebody_who_settles(run, ledger):
    desk = Desk(run, ledger, DeskOptions(reviews_per_image=2, n_workers=1))
    try:
        ann, bob, cleo = session("ann"), session("bob", Role.REVIEWER), session("cleo")
        first = decide_all(desk, ann, HIGHEST, lambda _: Choice.KEEP, 6)
        others = [item["row"] for item in desk.take(ann, HIGHEST, 6)["items"]]
        assert not {item["row"] for item in first} & set(others)
        desk.release(ann, others)
        second = decide_all(desk, bob, HIGHEST, lambda item: Choice.REMOVE if item["row"] % 2 else Choice.KEEP, 6)
        assert {item["row"] for item in first} == {item["row"] for item in second}
        n_odd = sum(item["row"] % 2 for item in first)
        assert desk.summary()["disputed"] == n_odd > 0
        with pytest.raises(UsageError, match="adjudicator"):
            desk.take(bob, QueueSpec(QueueName.DISAGREEMENTS), 10)
        open_items = desk.take(cleo, QueueSpec(QueueName.DISAGREEMENTS), 10)["items"]
        assert [voice[:2] for voice in open_items[0]["voices"]] == [["ann", "keep"], ["bob", "remove"]]
        desk.decide(cleo, [sent(item, Choice.REMOVE, voice=Voice.ADJUDICATION) for item in open_items])
        assert desk.summary()["disputed"] == 0
        assert desk.summary()["removed"] == n_odd
        agreement = desk.summary()["agreement"]
        assert agreement["n_units"] == 6
        assert agreement["cohen"][0]["n"] == 6
    finally:
        desk.close()


def test_the_audit_hides_scores_and_is_the_sample_that_prevalence_draws(desk):
    items = desk.take(session(), QueueSpec(QueueName.AUDIT), 10)["items"]
    assert {item["score"] for item in items} == {None}
    assert {item["concept"] for item in items} == {None}
    sample = desk.ledger.samples.load()
    assert [item["image_id"] for item in items] == [image.image_id for image in sample[:10]]
    assert not all(image.flagged for image in sample)


def test_words_find_images(desk):
    found = desk.search(session(), "a picture of a dog", 10)["items"]
    assert len(found) == 10
    similarity = [item["similarity"] for item in found]
    assert similarity == sorted(similarity, reverse=True)
    assert {item["row"] for item in found} != {
        item["row"] for item in desk.search(session(), "a picture of a house", 10)["items"]
    }


def test_like_this_one_leaves_it_out_and_a_group_begins_with_it(desk):
    row = int(np.flatnonzero(desk.catalog.is_seen)[7])
    assert row not in [item["row"] for item in desk.similar(session(), row, 20)["items"]]
    group = desk.group(session(), row, 0.5)
    assert group["items"][0]["row"] == row
    assert all(item["similarity"] >= 0.5 for item in group["items"])
    failed = int(np.flatnonzero(~desk.catalog.is_seen)[0])
    for wrong in (failed, -1, desk.catalog.n):
        with pytest.raises(UsageError):
            desk.similar(session(), wrong, 5)


def test_it_learns_and_orders_anew(desk):
    who = session()
    rows = np.flatnonzero(desk.catalog.is_seen)
    cut = np.median(desk.catalog.probability[rows])
    decide_all(desk, who, UNCERTAIN, lambda item: Choice.REMOVE if item["score"] < cut else Choice.KEEP, 40)
    before = desk.catalog.scores_name
    report = desk.learn(who)
    assert report["name"] == desk.catalog.scores_name != before
    assert report["n_train"] + report["n_held_out"] >= 40
    left = desk.take(who, HIGHEST, 100)["items"]
    assert (np.diff([item["score"] for item in left]) <= 0).all()
    with pytest.raises(UsageError, match="adjudicator"):
        desk.learn(session("bob", Role.REVIEWER))


def test_it_says_so_when_the_run_was_scored_again(desk, run):
    from clipsieve.engines import load_classifier_for, score

    score(run, load_classifier_for(run, "positive-negative").classifier, name="positive-negative")
    score(run, load_classifier_for(run, "offensive").classifier, name="positive-negative")
    with pytest.raises(RunConflictError, match="scored again"):
        desk.take(session(), HIGHEST, 1)


def test_pictures_are_given_by_row_and_content_alone(desk):
    item = desk.take(session(), HIGHEST, 1)["items"][0]
    row, sha16 = item["row"], item["sha256"][:16]
    assert desk.picture(row, sha16, "small")[:4] == b"RIFF"
    for wrong in ((row, "0" * 16), (row, ""), (-1, sha16), (desk.catalog.n, sha16), (row + 1, sha16)):
        assert desk.picture(*wrong, "small") is None


def test_many_at_once_get_different_images_and_nothing_is_lost(desk):
    def work(number: int) -> list[int]:
        who, rows = session(f"reviewer {number}"), []
        while items := desk.take(who, HIGHEST, 3)["items"]:
            assert not desk.decide(who, [sent(item) for item in items])["refused"]
            rows += [item["row"] for item in items]
        return rows

    with ThreadPoolExecutor(8) as pool:
        rows = [row for part in pool.map(work, range(8)) for row in part]
    assert sorted(rows) == np.flatnonzero(desk.catalog.is_seen).tolist()
    assert len(desk.ledger.rows()) == len(rows)


def test_another_desk_on_the_same_ledger_goes_on(desk, run, ledger):
    who = session()
    items = decide_all(desk, who, HIGHEST, lambda _: Choice.REMOVE, 7)
    other = Desk(run, ledger, DeskOptions(n_workers=1))
    try:
        assert other.state(who)["progress"]["removed"] == 7
        rows = {item["row"] for item in other.take(who, HIGHEST, 100)["items"]}
        assert rows.isdisjoint(item["row"] for item in items)
    finally:
        other.close()


def test_the_state_names_every_queue_with_its_counts(desk):
    state = desk.state(session())
    queues = {(queue["name"], queue["value"]): queue for queue in state["queues"]}
    assert queues["highest", None]["n"] == int(desk.catalog.is_seen.sum())
    assert queues["audit", None]["n"] == len(desk.ledger.samples.load())
    by_class = [queue for queue in state["queues"] if queue["name"] == "class"]
    assert sum(queue["n"] for queue in by_class) == int((desk.catalog.is_seen & (desk.catalog.label_codes >= 0)).sum())
    assert ("disagreements", None) not in {
        (queue["name"], queue["value"]) for queue in desk.state(session("bob", Role.REVIEWER))["queues"]
    }
    for queue in state["queues"]:
        spec = QueueSpec(QueueName(queue["name"]), queue["value"])
        taken = desk.take(session(), spec, 5)
        assert taken["n_left"] == queue["n"]
        desk.release(session(), [item["row"] for item in taken["items"]])
