"""Nothing that a person decides is ever lost, doubled, or decided for them: without a connection, and with many pages."""

import re
from datetime import UTC, datetime

import pytest

from clipsieve.review.records import Choice
from e2e.review_page import Reviewer, current
from waiting import wait_until as until

pytestmark = pytest.mark.slow


def test_a_second_reviewer_gets_other_images(browser, server):
    with Reviewer(browser, server) as ann, Reviewer(browser, server, "bo") as bo:
        assert not set(ann.tiles) & set(bo.tiles)
        mine = {ann.decide("k") for _ in range(5)}
        theirs = {bo.decide("r") for _ in range(5)}
        assert not mine & theirs
        ann.saved(), bo.saved()
        assert sorted(row.annotator for row in server.rows()) == ["ann"] * 5 + ["bo"] * 5


def test_a_killed_server_loses_and_doubles_nothing(browser, server):
    with Reviewer(browser, server) as ann:
        ann.may_fail = True
        decided = [ann.decide("k") for _ in range(8)]
        server.kill()
        decided += [ann.decide("r") for _ in range(8)]
        until(lambda: "nothing is lost" in ann.text("#saved-words"))
        ann.press("z")
        server.start()
        ann.saved()
        rows = server.rows()
        assert len({row.verdict_id for row in rows}) == len(rows) == 17
        assert sorted(row.choice.value for row in rows) == ["keep"] * 8 + ["remove"] * 8 + ["undo"]
        assert len(current(rows)) == 15
        assert len(set(decided)) == 16


def test_what_waits_survives_the_end_of_the_page(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.may_fail = True
        lone.kill()
        for _ in range(3):
            ann.decide("u")
        ann.page.close()
        lone.start()
        ann.page = ann.context.new_page()
        ann.page.goto(f"http://127.0.0.1:{lone.port}/")
        ann.page.wait_for_selector("html.is-ready", state="attached")
        ann.saved()
        assert [row.choice for row in lone.rows()] == [Choice.UNSURE] * 3


def test_without_a_connection_work_goes_on(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.may_fail = True
        ann.context.set_offline(True)
        for _ in range(4):
            ann.decide("k")
        until(lambda: re.fullmatch("4 waiting . offline, nothing is lost", ann.text("#saved-words")))
        assert not lone.rows()
        ann.context.set_offline(False)
        ann.saved()
        assert len(lone.rows()) == 4


def test_after_the_end_of_a_session_what_waits_is_sent_when_somebody_is_back(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.may_fail = True
        ann.context.clear_cookies()
        ann.decide("k")
        ann.page.wait_for_selector("#login-dialog[open]")
        assert "1 verdict waits" in ann.text("#login-words")
        other = ann.context.new_page()
        other.goto(lone.url)
        other.wait_for_selector("#name").fill("ann")
        other.get_by_role("button", name="Begin").click()
        other.wait_for_selector("html.is-ready", state="attached")
        other.close()
        if ann.page.locator("#login-dialog[open]").count():
            ann.page.locator("#login-again").click(timeout=2000, no_wait_after=True)
        ann.saved()
        until(lambda: len(lone.rows()) == 1)


def test_refused_decisions_are_shown_with_the_reason_and_hold_up_no_other(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.may_fail = True
        ann.page.evaluate(
            """() => {
            const id = crypto.randomUUID();
            const run = JSON.parse(document.querySelector('#boot').textContent).run.key;
            const verdict = {verdict_id: id, row: 1, image_id: 'no such <img src=x>', choice: 'keep',
                made: new Date().toISOString()};
            localStorage.setItem(`clipsieve.outbox/${encodeURIComponent(run)}/ann/${id}`,
                JSON.stringify({at: 1, verdict}))}"""
        )
        ann.decide("k")
        ann.saved()
        until(lambda: "1 not taken" in ann.text("#refused"))
        ann.page.locator("#refused").click()
        assert "no such <img src=x>" in ann.text("#refused-list")
        assert ann.page.locator("#refused-list img").count() == 0
        ann.page.locator("#refused-forget").click()
        until(lambda: ann.page.locator("#refused").is_hidden())
        assert len(lone.rows()) == 1


def test_when_no_image_is_left_without_a_connection_keys_do_nothing(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.may_fail = True
        n = len(ann.loaded())
        ann.context.set_offline(True)
        for _ in range(60):
            ann.press("k")
        until(lambda: "You are offline" in ann.text("#message"))
        assert ann.count("#notices .notice") == 0
        assert ann.count("[role=option][aria-current]") == 0
        ann.context.set_offline(False)
        ann.saved()
        decided = [row.image_id for row in lone.rows()]
        assert len(set(decided)) == len(decided) == n
        until(lambda: ann.count("[role=option][aria-current]") == 1, "no more images came by themselves")


def test_on_a_slow_network_no_image_is_decided_twice(browser, lone):
    with Reviewer(browser, lone) as ann:
        slow = {"offline": False, "latency": 700, "downloadThroughput": -1, "uploadThroughput": -1}
        network = ann.context.new_cdp_session(ann.page)
        network.send("Network.enable")
        network.send("Network.emulateNetworkConditions", slow)
        for i in range(90):
            ann.press("kr"[i % 2])
            ann.page.wait_for_timeout(20)
        until(lambda: "This queue is done" in ann.text("#message") or ann.count("[role=option][aria-current]"))
        ann.saved()
        decided = [row.image_id for row in lone.rows()]
        assert len(set(decided)) == len(decided) > 24


def test_two_tabs_of_a_person_get_different_images_and_keep_them(browser, lone):
    with Reviewer(browser, lone) as ann:
        with ann.context.expect_page() as opened:
            ann.page.evaluate("window.open(location.href)")  # its storage is a copy of this tab's
        other = opened.value
        other.wait_for_selector("html.is-ready", state="attached")
        until(lambda: other.locator("[role=option]").count() > 0)
        ids = [page.evaluate("sessionStorage.getItem('clipsieve.page')") for page in (ann.page, other)]
        assert len(set(ids)) == 2
        theirs = other.eval_on_selector_all("[role=option]", "all => all.map(one => Number(one.dataset.row))")
        assert not set(ann.tiles) & set(theirs)
        other.close()
        with Reviewer(browser, lone, "bo") as bo:
            assert not set(ann.loaded()) & set(bo.tiles)
        before = ids[0]
        ann.reload()
        assert ann.page.evaluate("sessionStorage.getItem('clipsieve.page')") == before


def test_what_others_hold_by_now_leaves_the_list(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.page.clock.install()
        ann.reload()
        ann.page.wait_for_load_state("networkidle")  # a request on its way would time out when the clock leaps
        lost = ann.tiles[0], ann.tiles[3]
        ann.page.route("**/api/renew", lambda route: route.fulfill(json={"lost": list(lost)}))
        with ann.page.expect_request("**/api/renew") as asked:
            ann.page.clock.run_for(130_000)
        assert set(ann.loaded()) <= set(asked.value.post_data_json["rows"]) | {lost[1]}
        assert re.fullmatch("[0-9A-Za-z-]{1,40}", asked.value.headers["x-page"])
        until(lambda: lost[1] not in ann.tiles)
        assert ann.row == lost[0]  # that one is being looked at


def test_verdicts_carry_the_time_of_the_server(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.context.add_init_script("const real = Date.now; Date.now = () => real() - 7_200_000;")
        ann.reload()
        ann.press("k", "r", "u")
        ann.saved()
        made = [row.made for row in lone.rows()]
        assert all(abs((datetime.now(UTC) - one).total_seconds()) < 60 for one in made)
        assert made == sorted(set(made))
