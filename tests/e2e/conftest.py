"""A review on a real server, and a browser, for the tests of the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from e2e.review_page import Server
from postgres import postgres_url
from reviewed_runs import copy_run

CHROMIUM = Path("/usr/bin/chromium")


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
