"""The report's page in a real browser: it asks for nothing, runs nothing but its own script, and fits every screen."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from clipsieve.outputs.report.page import render_page
from clipsieve.outputs.report.records import ClassFlags
from report_records import HOSTILE, sample_report

pytestmark = pytest.mark.slow

WIDTHS = (360, 820, 1280)
TITLE = "photos: what was flagged, and what was not looked at"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    report = sample_report(promises=HOSTILE, limits=HOSTILE, source_location=HOSTILE[1])
    one = report.classes[0]
    more = tuple(ClassFlags(f"class {i}", 10, 5, i / 100, i / 200, 0.9, 0.5, 0.5) for i in range(40))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(replace(report, classes=(one, *report.classes[1:], *more))), encoding="utf-8")
    return path


class Opened:
    """A page, and everything that went wrong on it."""

    def __init__(self, browser: Browser, file: Path, **options) -> None:
        self.faults: list[str] = []
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.faults.append("dialog"), dialog.dismiss()))
        self.page.on("popup", lambda _: self.faults.append("popup"))
        self.page.on("request", lambda request: self._check(request.url))
        self._url = file.as_uri()
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error(e.blockedURI))"
        )
        self.page.goto(self._url)

    def _check(self, url: str) -> None:
        if url != self._url and not url.startswith("data:"):
            self.faults.append(f"request: {url}")

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, kind, error, trace) -> None:
        self.page.wait_for_timeout(50)
        self.context.close()
        if kind is None:
            assert not self.faults


def size(width: int) -> dict[str, object]:
    return {"viewport": {"width": width, "height": 800}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_nothing_goes_wrong(browser, file, width, scheme):
    with Opened(browser, file, color_scheme=scheme, **size(width)) as page:
        assert page.title() == TITLE
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        for each in page.query_selector_all("details"):
            each.evaluate("details => details.open = true")
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        ground, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        levels = [sum(map(int, re.findall(r"\d+", color))) for color in (ground, ink)]
        assert (levels[0] < levels[1]) is (scheme == "dark")


def test_names_change_nothing(browser, file):
    counts = "['script', 'style', 'b', 'iframe', 'form', 'object'].map(tag => document.querySelectorAll(tag).length)"
    with Opened(browser, file, **size(1280)) as page:
        assert page.evaluate(counts) == [1, 1, 0, 0, 0, 0]
        assert page.title() == TITLE
        assert page.locator("#limits li").count() == len(HOSTILE)
        assert HOSTILE[0] in page.locator("#limits li").nth(0).inner_text()
        assert page.evaluate("document.documentElement.dir") == ""


def test_what_is_not_its_own_is_refused_by_the_policy(browser, file):
    """That faults are seen at all, and that the policy holds where a name might ever slip through."""
    opened = Opened(browser, file)
    page = opened.page
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x.png><p style=\"color:red\" onclick=\"1\">a</p>')"
    )
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title=1'}))"
    )
    while len(opened.faults) < 3:  # the policy says each of them by and by
        page.wait_for_event("console")
    assert page.title() == TITLE
    opened.context.close()


def blur(page: Page, number: int = 0) -> str:
    return page.locator(".thumbnail").nth(number).evaluate("image => getComputedStyle(image).filter")


def test_thumbnails_are_covered_until_a_person_asks_with_the_keyboard_too(browser, file):
    with Opened(browser, file, **size(1280)) as page:
        button = page.locator(".reveal").first
        assert "blur" in blur(page)
        assert "grayscale(1)" in blur(page)
        covered = page.locator(".thumbnail").first.bounding_box()
        assert max(covered["width"], covered["height"]) <= 64
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert blur(page) == "none"
        assert "blur" in blur(page, 1)
        page.keyboard.press("Space")
        assert "blur" in blur(page)
        page.keyboard.press("Enter")
        page.reload()
        assert "blur" in blur(page)


def test_all_are_shown_after_a_warning_and_covered_again(browser, file):
    with Opened(browser, file, **size(1280)) as page:
        shown = page.locator(".thumbnail.is-shown")
        page.locator("#show-all").focus()
        page.keyboard.press("Enter")
        assert "may show violence" in page.locator("#ask").inner_text()
        assert shown.count() == 0
        page.keyboard.press("Enter")  # what has the focus leaves them covered
        assert page.locator("#ask").is_hidden()
        assert shown.count() == 0
        page.locator("#show-all").click()
        page.locator("#ask-yes").click()
        assert shown.count() == page.locator(".thumbnail").count() > 0
        page.locator("#show-all").click()
        assert shown.count() == 0


def test_classes_are_sorted_and_found(browser, file):
    with Opened(browser, file, **size(1280)) as page:
        rows = page.locator("#class-table tbody tr:visible")
        assert rows.count() == 15
        page.locator("thead button", has_text="Flagged share").click()
        shares = page.eval_on_selector_all(
            "#class-table .share", "cells => cells.map(cell => Number(cell.dataset.value))"
        )
        assert shares == sorted(shares, reverse=True)
        page.locator("thead button", has_text="Flagged share").click()
        assert page.locator("th[aria-sort=ascending]").count() == 1
        page.get_by_label("Find a class").fill("CLASS 3")
        assert rows.count() == 11  # 3 and 30 to 39
        page.get_by_label("Find a class").fill("")
        assert rows.count() == 40 + len(sample_report().classes)


def test_the_search_says_what_it_does_not_search(browser, file, tmp_path):
    with Opened(browser, file, **size(1280)) as page:
        assert page.get_by_label("Find a class", exact=True).count() == 1
    one = sample_report().classes[0]
    classes = tuple(replace(one, label=f"class {i}") for i in range(1300))
    (tmp_path / "many.html").write_text(render_page(sample_report(classes=classes, terms=())), encoding="utf-8")
    with Opened(browser, tmp_path / "many.html", **size(360)) as page:
        page.get_by_label("Find a class among the 100 of this table").fill("class 1200")
        said = page.locator(".tools [role=status]").inner_text()
        assert said == "0 of 100 rows; the 1,200 classes that only classes.csv holds were not searched"


def test_without_javascript_everything_can_be_read(browser, file):
    with Opened(browser, file, java_script_enabled=False, **size(360)) as page:
        assert page.locator("#class-table tbody tr:visible").count() == 40 + len(sample_report().classes)
        for section in (
            "summary",
            "limits",
            "probabilities",
            "classes",
            "concepts",
            "words",
            "examples",
            "method",
            "failures",
        ):
            assert page.locator(f"#{section} h2").is_visible()
        assert page.locator("svg.chart:visible").count() == 1
        assert not page.locator("button:visible").count()
        assert page.locator(".thumbnail:visible").count() == page.locator(".thumbnail").count()


def test_it_prints_and_thumbnails_stay_covered_on_paper(browser, file):
    with Opened(browser, file, color_scheme="dark", **size(1280)) as page:
        page.locator(".reveal").first.click()
        page.emulate_media(media="print")
        assert "blur" in blur(page)
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 29, 32)"
        assert page.locator("#class-table tbody tr:visible").count() == 40 + len(sample_report().classes)
        assert not page.locator("nav:visible, button:visible").count()
        made = page.pdf(format="A4")
        assert made.startswith(b"%PDF")
        assert 3 <= len(re.findall(rb"/Type\s*/Page\b", made)) <= 30


def test_every_control_has_a_name_and_every_picture_words(browser, file):
    with Opened(browser, file, **size(1280)) as page:
        nameless = (
            "[...document.querySelectorAll('button, input, img, svg[role=img]')].filter(each => !(each.ariaLabel || "
        )
        nameless += (
            "each.alt || each.textContent.trim() || each.labels?.length)).map(each => each.outerHTML.slice(0, 80))"
        )
        assert page.evaluate(nameless) == []
        levels = page.eval_on_selector_all("h1, h2, h3", "found => found.map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.fixture(scope="module")
def of_the_demo(tmp_path_factory) -> Path:
    """Return the page that the commands make of the demo data set."""
    folder = tmp_path_factory.mktemp("demo")
    for words in (
        "demo-data photos -n 120",
        "scan photos -o run -q",
        "score run -c positive-negative",
        "report run -o report.html -q",
    ):
        command = [sys.executable, "-m", "clipsieve", *words.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return folder / "report.html"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_real_run(browser, of_the_demo, width):
    with Opened(browser, of_the_demo, **size(width)) as page:
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        assert page.locator("h1").inner_text() == "photos"
        first = page.locator(".reveal").first
        first.focus()
        page.keyboard.press("Enter")
        drawn = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
        page.wait_for_function(drawn)
