"""The review page in a real browser, on a real server, over both databases: nothing that a person decides is ever lost."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from clipsieve.review.consensus import Board
from clipsieve.review.keys import run_key
from clipsieve.review.ledger import open_ledger
from clipsieve.review.records import Choice, VerdictRow
from clipsieve.store import Run
from postgres import postgres_url
from reviewed_runs import copy_run

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
COMMAND = [sys.executable, "-m", "clipsieve", "review"]
FAULTS = (
    "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + e.blockedURI))"
)
PATIENCE_S = 20


def until(what, say: str = "") -> None:
    """Wait until something is true; the page's policy forbids Playwright's own way."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, say or "it never came true"
        time.sleep(0.03)


class Server:
    """`clipsieve review` in a process of its own, on one port for all its lives."""

    def __init__(self, run: Run, ledger: str, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.run, self.ledger, self.options = run, ledger, options
        self.start()

    def start(self) -> None:
        where = ["--port", str(self.port), "--ledger", self.ledger, "--workers", "1"]
        self.log = (self.run.path.parent / f"log-{time.monotonic_ns()}").open("w+")
        self.process = subprocess.Popen(
            [*COMMAND, str(self.run.path), *where, *self.options], stdout=self.log, stderr=subprocess.STDOUT, text=True
        )
        until(lambda: self.process.poll() is not None or "token=" in self._said(), "the server did not start")
        found = re.search(r"http://\S+token=\S+", self._said())
        assert found, self._said()
        self.url = found[0]

    def _said(self) -> str:
        return Path(self.log.name).read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0, self._said()
        self.log.close()

    def rows(self) -> list[VerdictRow]:
        with open_ledger(self.ledger, run_key(self.run)) as opened:
            return [row for _, row in opened.rows()]


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path) -> str:
    return str(tmp_path / "verdicts.db") if request.param == "sqlite" else postgres_url()


@pytest.fixture
def server(ledger, tmp_path) -> Iterator[Server]:
    """Give a review of 60 images and two databases."""
    opened = Server(copy_run(tmp_path / "run"), ledger)
    yield opened
    opened.stop()


@pytest.fixture
def lone(tmp_path) -> Iterator[Server]:
    """Give a review with SQLite: what is tried does not depend on the database."""
    opened = Server(copy_run(tmp_path / "run"), str(tmp_path / "verdicts.db"))
    yield opened
    opened.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), "install chromium (Debian package) — make test does it"
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


class Reviewer:
    """Somebody at a browser of their own, and everything that went wrong on their page."""

    def __init__(self, browser: Browser, server: Server, name: str = "ann", **options) -> None:
        self.server, self.faults, self.may_fail = server, [], False
        self.context: BrowserContext = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        self.context.add_init_script(FAULTS)
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self._check(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.log_in(name)

    def log_in(self, name: str) -> None:
        self.page.goto(self.server.url)
        self.page.wait_for_selector("#name").fill(name)
        self.page.get_by_role("button", name="Begin").click()
        self.page.wait_for_selector("html.is-ready", state="attached")
        assert "token" not in self.page.url

    def _check(self, url: str) -> None:
        if not url.startswith(f"http://127.0.0.1:{self.server.port}/"):
            self.faults.append(f"request: {url}")

    def _hear(self, message) -> None:
        if message.type == "error" and not self.may_fail and "favicon" not in str(message.location):
            self.faults.append(f"console: {message.text} {message.location}")

    def __enter__(self) -> "Reviewer":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.context.close()
        if kind is None:
            assert not self.faults

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    @property
    def row(self) -> int:
        return int(self.page.locator("[role=option][aria-current]").get_attribute("data-row"))

    @property
    def tiles(self) -> list[int]:
        return [
            int(each)
            for each in self.page.eval_on_selector_all("[role=option]", "all => all.map(one => one.dataset.row)")
        ]

    def decide(self, key: str) -> int:
        """Press a key, and wait until the next image has come up."""
        before = self.row
        self.press(key)
        until(lambda: self.row != before)
        return before

    def saved(self) -> None:
        until(lambda: self.text("#saved-words") == "All saved", "it was never saved")

    def find_ready(self) -> None:
        until(lambda: self._state()["index"]["is_ready"])
        self.page.reload()
        self.page.wait_for_selector("html.is-ready", state="attached")

    def _state(self) -> dict:
        return self.page.evaluate("fetch('/api/state').then(answer => answer.json())")

    def choose_queue(self, title: str) -> None:
        self.press("q")
        self.page.locator("#queues-dialog").get_by_role("button", name=title).first.click()
        until(lambda: title in self.text("#view-title"))


def current(rows: list[VerdictRow]) -> dict[str, Choice]:
    board = Board()
    board.add(rows)
    return {one.image_id: choice for one in board.all() for choice in one.by_annotator.values()}


def filter_of(page: Page, selector: str) -> str:
    return page.locator(selector).first.evaluate("image => getComputedStyle(image).filter")


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
        with ann.page.expect_response("**/api/group"):
            ann.page.locator("#min-similarity").evaluate(
                "one => { one.value = 0.5; one.dispatchEvent(new Event('input')); }"
            )
        ann.page.wait_for_timeout(200)
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


def test_words_and_likeness_find_images(browser, lone):
    with Reviewer(browser, lone) as ann:
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
        assert [row.queue for row in lone.rows()] == ["search"]


def test_learning_shows_before_and_after_and_orders_anew(browser, lone):
    with Reviewer(browser, lone) as ann:
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
        assert lone.rows()[-1].classifier.startswith("learned-")


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
        assert "1 decision waits" in ann.text("#login-words")
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


def test_pictures_are_covered_until_a_key_is_held(browser, lone):
    with Reviewer(browser, lone) as ann:
        page = ann.page
        for selector in (".frame .veil", ".thumb .veil"):
            assert re.match(r"grayscale\(1\) blur\(\d", filter_of(page, selector))
        page.keyboard.down("Space")
        shown = page.wait_for_selector(".clear.is-small")
        assert "blur" not in shown.evaluate("image => getComputedStyle(image).filter")
        assert max(shown.bounding_box()["width"], shown.bounding_box()["height"]) <= 160
        page.keyboard.down("Shift")
        page.wait_for_selector(".clear.is-large")
        page.keyboard.press("k")  # the next image comes covered, though the key is still held
        assert page.locator(".clear").count() == 0
        page.keyboard.up("Shift")
        page.keyboard.up("Space")
        box = page.locator("#picture").bounding_box()
        page.mouse.move(box["x"] + 50, box["y"] + 50)
        page.mouse.down()
        page.wait_for_selector(".clear")
        page.mouse.up()
        assert page.locator(".clear").count() == 0
        assert ann.page.locator("[role=option].is-decided").count() <= 1


def test_pictures_are_covered_at_the_first_paint(browser, lone):
    """Every picture, at every moment from its birth on."""
    with Reviewer(browser, lone) as ann:
        ann.context.add_init_script(
            """window.bare = 0; new MutationObserver(all => all.forEach(one => one.addedNodes.forEach(node => {
            if (node.nodeType !== 1) return;
            for (const image of [node, ...node.querySelectorAll('*')]) {
              if (image.tagName === 'IMG' && !getComputedStyle(image).filter.includes('blur')) window.bare += 1;
            }}))).observe(document, {childList: true, subtree: true});"""
        )
        ann.page.reload()
        ann.page.wait_for_selector("html.is-ready", state="attached")
        for key in "kru":
            ann.decide(key)
        assert ann.page.evaluate("window.bare") == 0
        assert ann.page.locator(".veil").count() > 20


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


def test_near_duplicates_come_as_groups(browser, lone):
    with Reviewer(browser, lone) as ann:
        ann.find_ready()
        ann.choose_queue("Near-duplicates")
        until(lambda: ann.page.locator("#likeness").is_visible() or ann.page.locator("#message").is_visible())


def test_what_reviewers_differ_about_is_settled(browser, lone):
    with Reviewer(browser, lone) as ann:
        row = ann.decide("u")
        ann.saved()
        ann.choose_queue("Disagreements")
        until(lambda: ann.tiles == [row])
        assert "ann unsure" in ann.text(".voices")
        ann.press("r")
        ann.saved()
        until(lambda: ann.page.locator("#message").is_visible())
        assert [(one.choice.value, one.voice.value) for one in lone.rows()] == [
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
        ann.page.get_by_role("button", name="Log out").click()
        ann.page.wait_for_url("**/login")


VIEWS = ["", "q", "c", "e", "l", "s", "?", "/", "m", "g"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 2000])
def test_every_view_fits_and_can_be_used_by_all(browser, lone, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    axe, found = Axe(), {}
    with Reviewer(browser, lone, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True) as ann:
        ann.find_ready()
        ann.decide("k")
        for key in VIEWS:
            if key:
                ann.press(key)
                ann.page.wait_for_timeout(300)
            found[key or "review"] = _serious(axe, ann.page)
            assert ann.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), key
            ann.press("Escape")
        ann.saved()
        for address in ("/summary", "/nothing-here"):
            ann.may_fail = True
            ann.page.goto(f"http://127.0.0.1:{lone.port}{address}")
            found[address] = _serious(axe, ann.page)
            assert ann.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), address
    assert {view: faults for view, faults in found.items() if faults} == {}


def _serious(axe, page: Page) -> list[str]:
    violations = axe.run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}"
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
