"""A review page in a real browser, on a real server: what the tests of it share."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from clipsieve.review.consensus import Board
from clipsieve.review.keys import run_key
from clipsieve.review.ledger import open_ledger
from clipsieve.review.records import Choice, VerdictRow
from clipsieve.store import Run
from waiting import wait_until as until

COMMAND = [sys.executable, "-m", "clipsieve", "review"]
FAULTS = (
    "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + e.blockedURI))"
)
# What was handed out, and a server that takes as long as a test wants it to.
TAKEN = """const ask = window.fetch; window.taken = []; window.held = null; window.fetch = async (...how) => {
  while (window.held === how[0]) await new Promise(go => setTimeout(go, 20));
  const answer = await ask(...how);
  if (how[0] === "/api/take" && answer.ok) {
    answer.clone().json().then(({items}) => window.taken.push(...items.map(item => item.row)))
      .catch(() => {});  // an answer that is cut off is the page's own to tell
  }
  return answer;
}"""
MOST_TILES = 24  # on a page of images


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
        try:
            until(lambda: self.process.poll() is not None or "token=" in self._said())
            found = re.search(r"http://\S+token=\S+", self._said())
            assert found
        except AssertionError as error:
            said = self._said()
            self.kill()
            raise AssertionError(f"the server did not start: {said}") from error
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

    def image_id(self, row: int) -> str:
        rows = (one for images in self.run.iter_images(["image_id"]) for one in images.column("image_id").to_pylist())
        return list(rows)[row]

    def rows(self) -> list[VerdictRow]:
        with open_ledger(self.ledger, run_key(self.run)) as opened:
            return [row for _, row in opened.rows()]


class Reviewer:
    """Somebody at a browser of their own, and everything that went wrong on their page."""

    def __init__(self, browser: Browser, server: Server, name: str | None = "ann", **options) -> None:
        self.server, self.faults, self.may_fail = server, [], False
        self.context: BrowserContext = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        self.context.add_init_script(FAULTS)
        self.context.add_init_script(TAKEN)
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self._check(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.log_in(name)

    def log_in(self, name: str | None) -> None:
        self.page.goto(self.server.url)
        if name is not None:
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
            assert not self.faults, self.faults

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

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def saved(self) -> None:
        until(lambda: self.text("#saved-words") == "All saved", "it was never saved")

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("html.is-ready", state="attached")

    def find_ready(self) -> None:
        until(lambda: self._state()["index"]["is_ready"])
        self.reload()

    def _state(self) -> dict:
        return self.page.evaluate("fetch('/api/state').then(answer => answer.json())")

    def loaded(self) -> list[int]:
        """Return the rows that were handed out since the page was loaded, when no more are on their way."""
        found: list[int] = []
        while not found or len(found) != len(self.page.evaluate("window.taken")):
            found = self.page.evaluate("window.taken")
            self.page.wait_for_timeout(400)
        return found

    def choose_smallest_class(self) -> None:
        self.press("q")
        self.page.locator("#queues-dialog summary").first.click()
        found = self.page.locator("#queues-dialog [data-queue=class]")
        sizes = [int(re.search(r"of (\d+)", text)[1]) for text in found.all_inner_texts()]
        with self.page.expect_response("**/api/take"):
            found.nth(sizes.index(min(sizes))).click()
        until(lambda: self.count("[role=option]") == min(sizes))

    def choose_queue(self, title: str) -> None:
        self.press("q")
        with self.page.expect_response("**/api/take"):
            self.page.locator("#queues-dialog").get_by_role("button", name=title).first.click()
        until(lambda: self.count("[role=option]") or "Waiting" not in self.text("#message"), "the queue did not come")

    def widen(self) -> None:
        """Ask for the group at a lower likeness, and wait until all that is in it is shown."""
        with self.page.expect_response("**/api/group") as answer:
            self.page.locator("#min-similarity").evaluate(
                "one => { one.value = 0.5; one.dispatchEvent(new Event('input')); }"
            )
        n = min(len(answer.value.json()["items"]), MOST_TILES)
        until(lambda: self.count("[role=option]") == n, "the group did not come")


def current(rows: list[VerdictRow]) -> dict[str, Choice]:
    board = Board()
    board.add(rows)
    return {one.image_id: choice for one in board.all() for choice in one.by_annotator.values()}


def filter_of(page: Page, selector: str) -> str:
    return page.locator(selector).first.evaluate("image => getComputedStyle(image).filter")
