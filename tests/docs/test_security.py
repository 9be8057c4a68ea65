"""Every limit in SECURITY.md names a test that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| .+ \| `(test_\w+)` \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_the_page_has_limits():
    assert len(ROWS) > 15


@pytest.mark.parametrize(("limit", "test"), ROWS, ids=[limit for limit, _ in ROWS])
def test_each_limit_has_its_test(limit, test):
    assert f"def {test}(" in TESTS
