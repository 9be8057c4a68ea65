"""The server in this process, with a desk of three records."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from clipsieve.review.ledger import Accounts, Ledger, open_ledger
from clipsieve.review.records import Role
from clipsieve.review.web.app import create_app
from review_client import ACCESS, ORIGIN, SmallDesk, Visitor


@pytest.fixture(scope="package")
def ledger_of_all(tmp_path_factory) -> Iterator[Ledger]:
    """Give one ledger, whose passwords take no time: migrations and hashes are tested elsewhere."""
    with open_ledger(tmp_path_factory.mktemp("web") / "verdicts.db", "small") as ledger:
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        ledger.accounts = Accounts(ledger.accounts._database, quick)
        yield ledger


@pytest.fixture(scope="package")
def desk_of_all(ledger_of_all) -> SmallDesk:
    """Give one desk."""
    return SmallDesk(ledger_of_all)


@pytest.fixture(scope="package")
def reviewer_of_all(desk_of_all) -> Iterator[tuple[Visitor, dict[str, str]]]:
    """Give somebody who has logged in once, and their cookies."""
    visitor = _open(desk_of_all)
    with visitor.client:
        visitor.log_in()
        yield visitor, dict(visitor.client.cookies)


@pytest.fixture
def small_desk(desk_of_all) -> Iterator[SmallDesk]:
    """Give a desk over three records."""
    desk_of_all.asked.clear()
    desk_of_all.fault = None
    yield desk_of_all
    for account in desk_of_all.ledger.accounts.all():
        desk_of_all.ledger.accounts.remove(account.name)


@pytest.fixture
def visit(small_desk) -> Callable[..., Visitor]:
    """Give a function that opens a browser without a face: `visit(has_accounts=True)`; with limits, at a server of its own."""
    return lambda desk=small_desk, **changes: _open(desk, **changes)


@lru_cache(maxsize=16)
def _server(desk: SmallDesk, **changes) -> FastAPI:
    return create_app(desk, replace(ACCESS, **changes))


def _open(desk: SmallDesk, **changes) -> Visitor:
    app = create_app(desk, replace(ACCESS, **changes)) if "limits" in changes else _server(desk, **changes)
    return Visitor(TestClient(app, base_url=ORIGIN, client=("127.0.0.1", 50_000), follow_redirects=False))


@pytest.fixture
def reviewer(small_desk, reviewer_of_all) -> Visitor:
    """Give somebody who has logged in."""
    visitor, cookies = reviewer_of_all
    visitor.client.cookies.clear()
    visitor.client.cookies.update(cookies)
    return visitor


@pytest.fixture
def accounts(small_desk) -> SmallDesk:
    """Give a desk whose ledger has two accounts."""
    small_desk.ledger.accounts.add("ann", "a long password", Role.ADJUDICATOR)
    small_desk.ledger.accounts.add("bob", "another password", Role.REVIEWER)
    return small_desk
