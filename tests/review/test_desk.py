"""The desk as a whole: what is handed out, what is written down, what is found."""

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clipsieve.errors import NotAllowedError, PromptSetError, RunConflictError, UsageError
from clipsieve.review.deciding import SentVerdict
from clipsieve.review.desk import Desk
from clipsieve.review.options import DeskOptions
from clipsieve.review.records import Choice, QueueName, QueueSpec, Role, Voice
from reviewed_runs import session
from verdict_rows import row

pytestmark = pytest.mark.slow  # a run, an index and decoding processes for each

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
        with pytest.raises(NotAllowedError, match="adjudicator"):
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
    assert 10 <= report["n_train"] < 40  # half of so small a run is left to vouch for thresholds
    left = desk.take(who, HIGHEST, 100)["items"]
    assert (np.diff([item["score"] for item in left]) <= 0).all()
    with pytest.raises(NotAllowedError, match="adjudicator"):
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


def test_a_verdict_is_about_the_file_that_was_seen(desk):
    who = session()
    one, other = desk.take(who, HIGHEST, 2)["items"]
    answer = desk.decide(who, [sent(one, sha256=other["sha256"]), sent(other, sha256=other["sha256"])])
    assert [refused["why"] for refused in answer["refused"]] == [
        "the file was replaced since you saw it: look at the image again"
    ]
    assert len(answer["accepted"]) == 1


def test_what_was_said_of_another_file_under_the_same_name_does_not_hold(run, ledger, desk):
    item, other = desk.take(session(), HIGHEST, 2)["items"]
    rows = [
        row(item["image_id"], choice=Choice.REMOVE, sha256="ab" * 32),
        row(other["image_id"], choice=Choice.REMOVE, sha256=other["sha256"]),
        row("gone.png", choice=Choice.REMOVE),
    ]
    ledger.append(rows)
    again = Desk(run, ledger, DeskOptions(n_workers=1))
    try:
        assert again.summary()["removed"] == 1
        assert again.summary()["n_elsewhere"] == 2
        assert item["row"] in [each["row"] for each in again.take(session(), HIGHEST, 100)["items"]]
    finally:
        again.close()


@pytest.mark.parametrize("ahead_s", [-60, 0, 5, 86_400])
def test_the_last_word_of_a_batch_holds_whatever_the_clock_says(desk, ahead_s):
    who, made = session(), datetime.now(UTC) + timedelta(seconds=ahead_s)
    for item in desk.take(who, HIGHEST, 10)["items"]:
        answer = desk.decide(who, [sent(item, Choice.KEEP, made=made), sent(item, Choice.REMOVE, made=made)])
        assert len(answer["accepted"]) == 2
        desk.decide(who, [sent(item, Choice.UNSURE, made=made - timedelta(seconds=30))])
        assert desk.standing.board.current(item["image_id"]).by_annotator == {"ann": Choice.UNSURE}


def test_what_was_decided_offline_hours_ago_does_not_outdo_what_came_since(desk):
    who = session()
    item = desk.take(who, HIGHEST, 1)["items"][0]
    desk.decide(who, [sent(item, Choice.REMOVE)])
    desk.decide(who, [sent(item, Choice.KEEP, made=datetime.now(UTC) - timedelta(hours=3))])
    assert desk.standing.board.current(item["image_id"]).unwanted is True


def test_an_id_that_says_something_else_is_refused_and_counts_nowhere(desk, run, ledger):
    ann, bob = session("ann"), session("bob")
    one, other = desk.take(ann, HIGHEST, 2)["items"]
    verdict = sent(one, Choice.REMOVE)
    desk.decide(ann, [verdict])
    elsewhere = Desk(run, ledger, DeskOptions(n_workers=1))
    try:
        for where in (desk, elsewhere):
            answer = where.decide(bob, [sent(other, Choice.KEEP, verdict_id=verdict.verdict_id)])
            assert answer["accepted"] == []
            assert answer["refused"][0]["why"] == "another verdict was sent under this id"
            assert where.summary()["kept"] == 0
            assert where.decide(ann, [verdict])["accepted"] == [verdict.verdict_id]
    finally:
        elsewhere.close()
    assert len(ledger.rows()) == 1


def test_an_undo_takes_back_ones_own_verdict_on_that_image_alone(desk):
    ann, bob = session("ann"), session("bob")
    one, other = desk.take(ann, HIGHEST, 2)["items"]
    verdict = sent(one, Choice.REMOVE)
    desk.decide(ann, [verdict])
    for who, item, undone in (
        (bob, one, verdict.verdict_id),
        (ann, other, verdict.verdict_id),
        (ann, one, str(uuid.uuid4())),
    ):
        assert desk.decide(who, [sent(item, Choice.UNDO, undoes=undone)])["refused"]
    late = sent(other, Choice.KEEP)
    answer = desk.decide(ann, [late, sent(other, Choice.UNDO, undoes=late.verdict_id)])
    assert len(answer["accepted"]) == 2
    assert answer["progress"]["decided"] == 1


def test_what_was_taken_back_is_held_by_whoever_has_it_before_them(desk):
    ann, bob = session("ann"), session("bob")
    items = desk.take(ann, HIGHEST, 3)["items"]
    verdicts = [sent(item) for item in items]
    desk.decide(ann, verdicts)
    desk.decide(
        ann, [sent(v_item, Choice.UNDO, undoes=v.verdict_id) for v_item, v in zip(items, verdicts, strict=True)]
    )
    others = {item["row"] for item in desk.take(bob, HIGHEST, 100)["items"]}
    assert others.isdisjoint(item["row"] for item in items)


def test_two_pages_of_one_person_get_different_images(desk):
    first, second = (replace(session(), page=page) for page in ("a", "b"))
    one = {item["row"] for item in desk.take(first, HIGHEST, 10)["items"]}
    other = {item["row"] for item in desk.take(second, HIGHEST, 10)["items"]}
    assert one.isdisjoint(other)
    desk.release(second, list(other))
    assert desk.renew(first, list(one)) == {"lost": []}
    taken = desk.take(session("bob"), HIGHEST, 100)["items"]
    assert one.isdisjoint(item["row"] for item in taken)
    assert set(desk.renew(second, list(other))["lost"]) == other


def test_what_a_page_has_before_it_stays_its_own(run, ledger):
    desk = Desk(run, ledger, DeskOptions(n_workers=1, lease_s=2.0))
    try:
        mine = [item["row"] for item in desk.take(session("ann"), HIGHEST, 5)["items"]]
        for _ in range(4):
            time.sleep(0.8)
            more = desk.take(session("ann"), HIGHEST, 1, mine)["items"]
            mine += [item["row"] for item in more]
        others = desk.take(session("bob"), HIGHEST, 100)["items"]
        assert set(mine).isdisjoint(item["row"] for item in others)
    finally:
        desk.close()


def test_another_server_hands_out_nothing_that_was_just_decided(desk, run, ledger):
    other, who, bob = Desk(run, ledger, DeskOptions(n_workers=1)), session("ann"), session("bob")
    try:
        for _ in range(5):
            items = desk.take(who, HIGHEST, 4)["items"]
            desk.decide(who, [sent(item) for item in items])
            found = other.take(bob, HIGHEST, 4)["items"]
            assert {item["row"] for item in found}.isdisjoint(item["row"] for item in items)
            other.release(bob, [item["row"] for item in found])
    finally:
        other.close()


def test_an_adjudicator_who_is_unsure_has_settled_it(run, ledger):
    desk = Desk(run, ledger, DeskOptions(n_workers=1))
    try:
        who, queue = session("cleo"), QueueSpec(QueueName.DISAGREEMENTS)
        decide_all(desk, session("ann"), HIGHEST, lambda _: Choice.UNSURE, 1)
        item = desk.take(who, queue, 5)["items"][0]
        desk.decide(who, [sent(item, Choice.UNSURE, voice=Voice.ADJUDICATION)])
        assert desk.take(who, queue, 5)["items"] == []
        assert desk.summary()["disputed"] == 0
    finally:
        desk.close()


def test_nobody_settles_what_nobody_has_spoken_of(desk):
    item = desk.take(session(), HIGHEST, 1)["items"][0]
    assert desk.decide(session(), [sent(item, voice=Voice.ADJUDICATION)])["refused"]


def test_one_voice_of_two_is_no_decision_yet(run, ledger):
    desk = Desk(run, ledger, DeskOptions(reviews_per_image=2, n_workers=1))
    try:
        decide_all(desk, session("ann"), HIGHEST, lambda _: Choice.KEEP, 3)
        assert desk.summary()["decided"] == 0
        decide_all(desk, session("bob"), HIGHEST, lambda _: Choice.KEEP, 3)
        assert desk.summary()["decided"] == 3
    finally:
        desk.close()


def test_a_group_comes_up_until_each_of_its_images_is_done(run, ledger):
    desk = Desk(run, ledger, DeskOptions(n_workers=1))
    desk.preparation.wait(60)
    rows = np.flatnonzero(desk.catalog.is_seen)
    desk.preparation.groups = [rows[3:5], rows[10:17], rows[20:22]]
    try:
        queue, who, n_members = QueueSpec(QueueName.DUPLICATES), session(), 11
        seen = []
        while items := desk.take(who, queue, 1)["items"]:
            assert items[0]["n_like_it"] >= 2
            seen.append(items[0]["row"])
            desk.decide(who, [sent(items[0])])
        assert len(set(seen)) == n_members
        line = next(line for line in desk.state(who)["queues"] if line["name"] == "duplicates")
        assert line["n"] == line["n_done"] == len(desk.preparation.groups)
    finally:
        desk.close()


def test_a_search_within_an_audit_shows_no_scores(desk):
    row = int(np.flatnonzero(desk.catalog.is_seen)[0])
    for found in (
        desk.search(session(), "a dog", 5, is_blind=True),
        desk.similar(session(), row, 5, is_blind=True),
        desk.group(session(), row, 0.5, is_blind=True),
    ):
        assert {(item["score"], item["concept"], item["classifier"]) for item in found["items"]} == {(None, None, None)}


def test_nothing_is_shown_of_a_run_that_was_scanned_again(desk, run):
    item = desk.take(session(), HIGHEST, 1)["items"][0]
    os.utime(run.image_part(0), (1, 1))
    time.sleep(1.1)
    assert desk.picture(item["row"], item["sha256"][:16], "small") is None
    with pytest.raises(RunConflictError):
        desk.group(session(), item["row"], 0.9)
    assert desk.decide(session(), [sent(item)])["accepted"]


def test_decisions_do_not_wait_for_a_summary(desk, monkeypatch):
    who = session()
    decide_all(desk, who, HIGHEST, lambda _: Choice.KEEP, 50)
    item = desk.take(who, HIGHEST, 1)["items"][0]
    verdicts = desk.standing.verdicts()
    next(verdicts)  # a summary that is being made
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(desk.decide, who, [sent(item)]).result(timeout=5)["accepted"]
    assert len(list(verdicts)) >= 49


def test_a_file_that_is_no_taxonomy_is_told_at_once(run, ledger, tmp_path):
    with pytest.raises(PromptSetError):
        Desk(run, ledger, DeskOptions(taxonomy=str(tmp_path / "none.toml")))
