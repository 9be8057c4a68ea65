"""Reviews that tests stand on."""

from collections.abc import Iterator

import pytest

from clipsieve.review.desk import Desk
from clipsieve.review.ledger import Ledger, open_ledger
from clipsieve.review.options import DeskOptions
from clipsieve.store import Run
from reviewed_runs import copy_run


@pytest.fixture
def run(tmp_path) -> Run:
    """Give a run of 60 drawn images and 3 broken ones, scored in words."""
    return copy_run(tmp_path / "run")


@pytest.fixture
def ledger(run) -> Iterator[Ledger]:
    """Give the run's own ledger."""
    with open_ledger(run.path / "verdicts.db", "test") as opened:
        yield opened


@pytest.fixture
def desk(run, ledger) -> Iterator[Desk]:
    """Give a desk at which everything is prepared."""
    opened = Desk(run, ledger, DeskOptions(n_workers=1))
    opened.preparation.wait(60)
    yield opened
    opened.close()
