"""What a person does on the review page, in a real browser, on a real server, over both databases."""

import pytest

from clipsieve.review.keys import run_key
from clipsieve.review.ledger import open_ledger
from clipsieve.review.records import Choice, Role
from e2e.review_page import Reviewer, Server, current, filter_of
from reviewed_runs import copy_run
from waiting import wait_until as until

pytestmark = pytest.mark.slow


def test_thirty_images_by_keyboard_with_undo(browser, server):
    with Reviewer(browser, server) as ann:
        seen = [ann.decide("kru"[i % 3]) for i in range(30)]
        assert len(set(seen)) == 30
        ann.press("z")
        until(lambda: ann.row == seen[-1])
        ann.press("z")
        until(lambda: ann.row == seen[-2])
        ann.saved()
        assert "28 of" in ann.text("#progress-words")
        rows = server.rows()
        assert len({row.verdict_id for row in rows}) == len(rows) == 32
        assert [row.choice.value for row in rows[:6]] == ["keep", "remove", "unsure"] * 2
        assert [row.choice for row in rows[30:]] == [Choice.UNDO] * 2
        assert len(current(rows)) == 28
        assert all(
            row.queue == "uncertain" and 0 <= row.duration_s < 60 and row.annotator == "ann" for row in rows[:30]
        )


def open_a_large_group(ann: Reviewer) -> int:
    """Open the first group of three or more; returns how many images it has."""
    for _ in range(20):
        ann.press("g")
        ann.page.wait_for_selector("#likeness:visible")
        ann.widen()
        n = ann.page.locator("[role=option]").count()
        if 2 < n < 24:
            return n
        ann.press("Escape", "ArrowRight")
    raise AssertionError("there is no such group")


def test_a_range_and_a_group_are_one_decision_each(browser, server):
    with Reviewer(browser, server) as ann:
        ann.find_ready()
        ann.press("Shift+ArrowRight", "Shift+ArrowRight")
        assert ann.page.locator("[role=option][aria-selected=true]").count() == 3
        assert "Remove 3" in ann.text("[data-action=remove]")
        ann.press("Shift+ArrowLeft")
        assert ann.page.locator("[role=option][aria-selected=true]").count() == 2
        ann.press("r")
        ann.saved()
        rows = server.rows()
        assert len(rows) == 2
        assert len({row.group_id for row in rows}) == 1
        n = open_a_large_group(ann)
        ann.press("ArrowRight", "x", "k")
        ann.saved()
        group = server.rows()[2:]
        assert len(group) == n - 1 >= 2
        assert {row.group_id for row in group} == {group[0].group_id}
        ann.press("z")
        ann.saved()
        assert len(current(server.rows())) == 2


def test_words_and_likeness_find_images(browser, server):
    with Reviewer(browser, server) as ann:
        ann.find_ready()
        ann.press("/")
        ann.page.keyboard.type("keys are letters here: krux")
        ann.press("Enter")
        until(lambda: "keys are letters" in ann.text("#view-title"))
        first = ann.decide("r")
        ann.press("m")
        until(lambda: "More like" in ann.text("#view-title"))
        assert first != ann.row
        ann.press("Escape", "Escape")
        until(lambda: "Uncertain" in ann.text("#view-title"))
        ann.saved()
        assert [row.queue for row in server.rows()] == ["search"]


def test_learning_shows_before_and_after_and_orders_anew(browser, server):
    with Reviewer(browser, server) as ann:
        for i in range(30):
            label = ann.page.locator(".facts .is-label dd")
            kind = label.inner_text() if label.count() else str(i)
            ann.decide("r" if len(kind) % 2 else "k")
        ann.saved()
        ann.press("l")
        ann.page.get_by_role("button", name="Learn now").click()
        ann.page.wait_for_selector("#learn-reorder", timeout=60_000)
        assert "Before" in ann.text("#learn-body")
        ann.page.locator("#learn-reorder").click()
        until(lambda: ann.page.locator("[role=option]").count() > 20)
        ann.decide("k")
        ann.saved()
        assert server.rows()[-1].classifier.startswith("learned-")


def test_settings_and_keys_are_a_persons_own_and_stay(browser, lone):
    with Reviewer(browser, lone) as ann:
        page = ann.page
        ann.press("s")
        page.get_by_label("Grey instead of colour").uncheck()
        page.locator("[name=blur]").evaluate("one => { one.value = 40; one.dispatchEvent(new Event('input')); }")
        ann.press("Escape", "?")
        page.get_by_label("Keep: K. Change").click()
        ann.press("r")
        assert "already" in ann.text("#keys-problem")
        page.get_by_label("Keep: K. Change").click()
        ann.press("f", "Escape")
        page.reload()
        page.wait_for_selector("html.is-ready", state="attached")
        assert filter_of(page, ".frame .veil").startswith("grayscale(0) blur(")
        before = ann.row
        ann.press("k")
        assert ann.row == before
        ann.decide("f")
        ann.saved()
        assert [row.choice for row in lone.rows()] == [Choice.KEEP]


def test_keys_work_on_other_keyboards_and_a_held_key_decides_once(browser, lone):
    with Reviewer(browser, lone) as ann:
        cyrillic = "new KeyboardEvent('keydown', {key: 'л', code: 'KeyK', bubbles: true, cancelable: true})"
        ann.page.evaluate(f"document.body.dispatchEvent({cyrillic})")
        ann.page.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'r', repeat: true, bubbles: true}))"
        )
        ann.page.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'r', ctrlKey: true, bubbles: true}))"
        )
        ann.saved()
        until(lambda: len(lone.rows()) == 1)
        assert lone.rows()[0].choice is Choice.KEEP


def test_concepts_and_a_note_go_with_the_next_decision_alone(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.press("c", "1", "c", "e")
        ann.page.locator("#note-text").fill("<b>k r u</b>")
        ann.press("Control+Enter")
        until(lambda: "<b>k r u</b>" in ann.text("#attached"))
        ann.decide("r")
        ann.decide("k")
        ann.saved()
        first, second = lone.rows()
        assert len(first.concepts) == 1
        assert first.note == "<b>k r u</b>"
        assert (second.concepts, second.note) == ((), "")


def test_near_duplicates_come_as_groups(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.choose_queue("Near-duplicates")
        until(lambda: ann.page.locator("#likeness").is_visible() or ann.page.locator("#message").is_visible())


def test_what_reviewers_differ_about_is_settled(browser, server):
    with Reviewer(browser, server) as ann:
        row = ann.decide("u")
        ann.saved()
        ann.choose_queue("Disagreements")
        until(lambda: ann.tiles == [row])
        assert "ann unsure" in ann.text(".voices")
        ann.press("r")
        ann.saved()
        until(lambda: ann.page.locator("#message").is_visible())
        assert [(one.choice.value, one.voice.value) for one in server.rows()] == [
            ("unsure", "review"),
            ("remove", "adjudication"),
        ]


def test_the_summary_and_the_way_out(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.decide("k")
        ann.saved()
        ann.page.get_by_role("link", name="Summary").click()
        assert "1 of 60 images are decided" in ann.text(".lead").replace("60 images is", "60 images are")
        assert "Needs two reviewers" in ann.text("main")
        ann.page.get_by_role("link", name="Review").click()
        ann.page.wait_for_selector("html.is-ready", state="attached")
        ann.page.wait_for_load_state("networkidle")  # pictures on their way would be refused after the logout
        ann.page.get_by_role("button", name="Log out").click()
        ann.page.wait_for_url("**/login")


def test_when_a_queue_is_done_no_key_decides_anything(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.choose_smallest_class()
        n = ann.count("[role=option]")
        ann.press(*"k" * n)
        until(lambda: "This queue is done" in ann.text("#message"))
        ann.press("r", "r", "u", "x", "g", "m", "ArrowDown", "ArrowRight", "r")
        ann.saved()
        assert [row.choice for row in lone.rows()] == [Choice.KEEP] * n
        ann.press("ArrowLeft")  # back on purpose: to change one's mind, once for each press
        until(lambda: ann.count("[role=option][aria-current]") == 1)
        ann.press("r", "r", "r")
        ann.saved()
        assert [row.choice for row in lone.rows()] == [Choice.KEEP] * n + [Choice.REMOVE]


def test_nothing_happens_in_an_empty_queue(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.choose_queue("Disagreements")
        until(lambda: ann.page.locator("#message").is_visible())
        ann.press("Shift+ArrowRight", "Shift+ArrowLeft", "x", "k", "g", "m", "End", "Home", "ArrowRight", "Space", "z")
        assert ann.page.locator("#message").is_visible()
        assert not lone.rows()


@pytest.fixture
def loose(tmp_path):
    """Give a review in which many images look alike."""
    opened = Server(copy_run(tmp_path / "run", 240), str(tmp_path / "verdicts.db"), "--similarity", "0.8255")
    yield opened
    opened.stop()


def test_in_a_queue_of_groups_every_key_decides_the_group_that_is_shown(browser, loose):
    with Reviewer(browser, loose) as ann:
        ann.find_ready()
        ann.page.evaluate("window.held = '/api/group'")
        ann.choose_queue("Near-duplicates")
        ann.press("k", "r")  # too early: the group is coming
        assert ann.page.locator("[data-action=keep]").is_disabled()
        ann.page.evaluate("window.held = null")
        ann.page.wait_for_selector("#likeness:visible")
        assert ann.page.locator("#min-similarity").input_value() == "0.8255"
        n, shown = ann.count("[role=option]"), ann.tiles
        assert n > 1
        ann.press("Escape", "g")
        assert ann.tiles == shown
        assert ann.page.locator("#back").is_hidden()
        ann.press("PageDown")
        until(lambda: ann.page.locator("#likeness").is_visible() and ann.tiles != shown)
        ann.press("PageUp")
        until(lambda: ann.page.locator("#likeness").is_visible() and ann.tiles == shown)
        ann.press("k")
        ann.saved()
        rows = loose.rows()
        assert {row.image_id for row in rows} == {loose.image_id(row) for row in shown}
        assert {(row.choice, row.queue, row.group_id) for row in rows} == {
            (Choice.KEEP, "duplicates", rows[0].group_id)
        }
        assert rows[0].group_id


def test_each_group_begins_at_the_likeness_of_the_review(browser, loose):
    with Reviewer(browser, loose) as ann:
        ann.find_ready()
        slider = ann.page.locator("#min-similarity")
        for _ in range(2):
            ann.press("g")
            ann.page.wait_for_selector("#likeness:visible")
            assert slider.input_value() == "0.8255"
            ann.widen()
            ann.press("Escape", "ArrowRight")


def test_a_group_without_marks_is_not_decided(browser, loose):
    with Reviewer(browser, loose) as ann:
        ann.find_ready()
        ann.press("g")
        ann.page.wait_for_selector("#likeness:visible")
        ann.page.locator("#unmark").click()
        ann.press("k")
        assert ann.page.locator("#likeness").is_visible()
        ann.saved()
        assert not loose.rows()


def test_only_what_reviewers_differ_about_is_settled(browser, loose):
    with Reviewer(browser, loose) as ann:
        ann.find_ready()
        open_a_large_group(ann)
        ann.press("Escape")
        row = ann.decide("u")
        ann.saved()
        ann.choose_queue("Disagreements")
        until(lambda: ann.tiles == [row])
        ann.press("g")
        ann.page.wait_for_selector("#likeness:visible")
        ann.widen()
        assert ann.count("[role=option]") > 1
        assert "ann unsure" in ann.text(".voices")
        ann.press("r")
        ann.saved()
        settled = {one.image_id: one.voice.value for one in loose.rows()[1:]}
        assert settled.pop(loose.image_id(row)) == "adjudication"
        assert set(settled.values()) == {"review"}


def test_the_audit_shows_no_score_on_any_way(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.choose_queue("Random audit")

        def is_blind() -> bool:
            labels = " ".join(ann.page.locator("[role=option]").evaluate_all("all => all.map(one => one.ariaLabel)"))
            return "does not sway" in ann.text("#said") and "unwanted" not in labels and not ann.count(".is-concept")

        assert is_blind()
        ann.press("m")
        until(lambda: "More like" in ann.text("#view-title"))
        assert is_blind()
        with ann.page.expect_response("**/api/similar"):
            ann.press("m")
        ann.page.wait_for_timeout(300)
        assert is_blind()
        ann.press("g")
        ann.page.wait_for_selector("#likeness:visible")
        assert is_blind()
        ann.press("k")
        ann.saved()
        assert {(row.score, row.classifier) for row in lone.rows()} == {(None, None)}


def test_what_was_looked_for_in_another_queue_is_not_shown_in_the_audit(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.page.evaluate("window.held = '/api/similar'")
        ann.press("m")
        ann.choose_queue("Random audit")
        with ann.page.expect_response("**/api/similar"):
            ann.page.evaluate("window.held = null")
        ann.page.wait_for_timeout(300)
        assert "Random audit" in ann.text("#view-title")


def test_a_verdict_names_the_scores_that_were_shown(browser, lone):
    with Reviewer(browser, lone) as ann:
        for i in range(40):
            ann.decide("kr"[i % 2])
        ann.press("l")
        ann.page.get_by_role("button", name="Learn now").click()
        ann.page.wait_for_selector("#learn-reorder", timeout=60_000)
        ann.page.get_by_role("button", name="Stay here").click()
        ann.decide("k")
        ann.saved()
        assert lone.rows()[-1].classifier == "positive-negative"


def test_learning_waits_until_every_verdict_has_arrived(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.may_fail = True
        ann.page.route("**/api/verdicts", lambda route: route.abort())
        ann.decide("k")
        ann.press("l")
        ann.page.get_by_role("button", name="Learn now").click()
        until(lambda: "Not all verdicts have arrived" in ann.text("#learn-body"))


def test_a_reviewer_is_told_why_learning_is_not_theirs(browser, tmp_path):
    run, ledger = copy_run(tmp_path / "run"), str(tmp_path / "verdicts.db")
    with open_ledger(ledger, run_key(run)) as opened:
        opened.accounts.add("bo", "a long password of bo", Role.REVIEWER)
    server = Server(run, ledger, "--annotator", "bo")
    with Reviewer(browser, server, None) as bo:
        assert bo.page.locator("[data-action=learn]").count() == 0
        bo.press("l")
        until(lambda: "Only an adjudicator" in bo.text("#notices"))
    server.stop()


def test_keys_that_never_would_work_cannot_be_chosen(browser, lone):
    with Reviewer(browser, lone) as ann:
        page = ann.page
        page.evaluate("localStorage.setItem('clipsieve.keys', JSON.stringify({keep: 'ArrowDown', unsure: 7}))")
        ann.reload()
        ann.press("?")
        for key in ("ArrowDown", "Home", "PageUp", "Tab", "Enter", "F5"):
            page.get_by_label("Keep: K. Change").click()
            ann.press(key)
            assert page.locator("#keys-problem").is_visible(), key
        page.get_by_label("Say what it shows: C. Change").click()
        ann.press("1", "Escape", "1")
        page.wait_for_selector("#concepts-dialog[open]")
        ann.press("1")
        page.wait_for_selector("#concepts-dialog", state="hidden")


def test_what_was_found_has_a_progress_of_its_own(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.press("m")
        until(lambda: "More like" in ann.text("#view-title"))
        ann.decide("k")
        assert ann.text("#progress-words").startswith("1 of 59 found here")
