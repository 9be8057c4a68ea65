"""One empty place for a ledger, on each database that can hold one."""

import pytest

from postgres import postgres_url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """Give a path, or a URL of a real server."""
    return tmp_path / "verdicts.db" if request.param == "sqlite" else postgres_url()
