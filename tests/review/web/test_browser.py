"""Coming in with a real browser: links from elsewhere, strict cookies, and forms on pages without a referrer."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
SERVER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from clipsieve.review.ledger import open_ledger
    from clipsieve.review.web.serve import serve
    from review_client import SmallDesk

    with open_ledger(sys.argv[1], "small") as ledger:
        serve(SmallDesk(ledger), port=0, on_start=lambda url: print(url, flush=True))
"""


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """Give the address that a server prints."""
    command = [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path / "v.db"), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as server:
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture
def elsewhere(address) -> Iterator[str]:
    """Give the address of another site, with links to the server and a form that is forged."""
    own = address.partition("/login")[0]
    page = (
        f'<!doctype html><a id="token" href="{address}">token</a> <a id="page" href="{own}/">page</a>'
        f'<form method="post" action="{own}/login"><input name="name" value="mallory"><button>go</button></form>'
    )

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://localhost:{site.server_port}/"  # another site than 127.0.0.1
        site.shutdown()


@pytest.fixture
def page() -> Iterator[Page]:
    """Give a page of Chromium."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_a_link_from_another_site_lets_in_and_the_token_leaves_the_address(page, address, elsewhere):
    own = address.partition("/login")[0]
    page.goto(elsewhere)
    page.click("#token")
    page.wait_for_url(f"{own}/login")
    page.fill("[name=name]", "ann")
    page.click("form button")
    page.wait_for_url(f"{own}/")
    assert page.locator("meta[name=annotator]").get_attribute("content") == "ann"
    cookies = page.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]

    page.goto(elsewhere)
    page.click("#page")  # the strict cookie is held back, and the page is there all the same
    page.wait_for_url(f"{own}/")
    page.wait_for_selector("meta[name=annotator]", state="attached")
    assert page.locator("meta[name=annotator]").get_attribute("content") == "ann"

    page.goto(elsewhere)
    with page.expect_response(f"{own}/login") as answer:
        page.click("form button")
    assert answer.value.status == 403

    page.goto(f"{own}/")
    key = page.locator("meta[name=csrf]").get_attribute("content")
    with page.expect_response(f"{own}/logout"):
        page.evaluate("document.querySelector('form[action=\"/logout\"]').submit()")
    page.wait_for_url(f"{own}/login")
    status = page.evaluate("async key => (await fetch('/api/state', {headers: {'X-CSRF-Token': key}})).status", key)
    assert status == 401
