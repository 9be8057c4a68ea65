"""What is seen of the review page: pictures are covered unless a person wants otherwise, and every view can be used by all."""

import re

import pytest
from playwright.sync_api import Page

from e2e.review_page import Reviewer, filter_of
from waiting import wait_until as until

pytestmark = pytest.mark.slow


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


def test_nothing_stays_clear_below_a_dialog_or_behind_another_window(browser, lone):
    with Reviewer(browser, lone) as ann:
        page = ann.page
        page.keyboard.down("Space")
        page.wait_for_selector(".clear")
        ann.press("s")
        page.wait_for_selector("#settings-dialog[open]")
        assert ann.count(".clear") == 0
        page.keyboard.up("Space")
        ann.press("Escape")
        for leave in (
            "window.dispatchEvent(new Event('blur'))",
            "document.dispatchEvent(new Event('visibilitychange'))",
        ):
            page.keyboard.down("Space")
            page.wait_for_selector(".clear")
            peek(ann, 2)
            page.evaluate(leave)
            assert ann.count(".clear, .is-peeked") == 0
            page.mouse.up()
            page.keyboard.up("Space")


def peek(ann: Reviewer, place: int) -> None:
    """Hold the mouse on a small picture until it is clear."""
    box = ann.page.locator(".tile").nth(place).bounding_box()
    ann.page.mouse.move(box["x"] + 20, box["y"] + 20)
    ann.page.mouse.down()
    ann.page.wait_for_selector(".is-peeked")


def test_a_small_picture_is_clear_only_below_the_pointer(browser, lone):
    with Reviewer(browser, lone) as ann:
        peek(ann, 1)
        box = ann.page.locator(".tile").nth(2).bounding_box()
        ann.page.mouse.move(box["x"] + 20, box["y"] + 20)
        assert ann.count(".is-peeked") == 0
        ann.page.mouse.up()


def test_a_mouse_that_rests_shows_each_picture(browser, lone):
    with Reviewer(browser, lone) as ann:
        page = ann.page
        ann.press("s")
        page.get_by_label("Show when the mouse rests on it").check()
        ann.press("Escape")
        box = page.locator("#picture").bounding_box()
        for i in range(3):
            page.mouse.move(box["x"] + 60 + 10 * i, box["y"] + 60)
            page.wait_for_selector(".clear")
            ann.decide("k")
            page.wait_for_timeout(800)
            assert ann.count(".clear") == 0  # the next one is never clear by itself


def test_a_finger_that_scrolls_uncovers_nothing(browser, lone):
    with Reviewer(browser, lone, viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True) as ann:
        page = ann.page
        touch = ann.context.new_cdp_session(page)

        def finger(kind: str, *points: tuple[float, float]) -> None:
            told = [{"x": x, "y": y} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

        box = page.locator("#picture").bounding_box()
        x, y = box["x"] + 50, box["y"] + 50
        finger("touchStart", (x, y))
        for i in range(8):
            finger("touchMove", (x, y - 10 * i))
            assert ann.count(".clear") == 0
            page.wait_for_timeout(40)
        finger("touchEnd")
        page.evaluate("scrollTo(0, 0)")
        assert "press the picture" in ann.text("#hint").lower()
        assert not page.locator("#hint kbd").first.is_visible()
        finger("touchStart", (x, y))
        page.wait_for_selector(".clear")
        finger("touchEnd")
        until(lambda: ann.count(".clear") == 0)


@pytest.mark.parametrize("width", [400, 2000])
def test_the_cover_is_as_thick_as_the_picture_is_large(browser, lone, width):
    with Reviewer(browser, lone, viewport={"width": width, "height": 1100}) as ann:
        for selector in (".frame", ".thumb"):
            blur = float(re.search(r"blur\((.+?)px", filter_of(ann.page, f"{selector} .veil"))[1])
            box = ann.page.locator(selector).first.bounding_box()
            assert blur >= 0.06 * min(box["width"], box["height"])


def test_a_break_of_ones_own_counts(browser, lone):
    """A reminder comes after so many minutes at work, and not when somebody has rested in between."""
    with Reviewer(browser, lone) as ann:
        clock = ann.page.clock
        clock.install()
        ann.reload()
        for _ in range(30):
            ann.press("ArrowRight")
            clock.run_for(60_000)
        clock.run_for(360_000)
        for _ in range(30):
            ann.press("ArrowLeft")
            clock.run_for(60_000)
        ann.press("k")
        assert ann.count("#break-dialog[open]") == 0
        for _ in range(20):
            ann.press("ArrowLeft")
            clock.run_for(60_000)
        ann.page.wait_for_selector("#break-dialog[open]")


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
        ann.choose_queue("Disagreements")
        found["nothing left"] = _serious(axe, ann.page)
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
