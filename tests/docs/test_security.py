"""Every limit in SECURITY.md, and every fault in docs/reliability.md, names a test that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "SECURITY.md", ROOT / "docs" / "reliability.md"]
ROW = re.compile(r"^\| (.+?) \| .+ \| (`test_\w+`(?:, `test_\w+`)*) \|$", re.MULTILINE)
ROWS = [
    (limit, test)
    for page in PAGES
    for limit, tests in ROW.findall(page.read_text(encoding="utf-8"))
    for test in re.findall(r"test_\w+", tests)
]
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_has_rows(page):
    assert len(ROW.findall(page.read_text(encoding="utf-8"))) > 15


@pytest.mark.parametrize(("limit", "test"), ROWS, ids=[limit for limit, _ in ROWS])
def test_each_limit_has_its_test(limit, test):
    assert f"def {test}(" in TESTS
