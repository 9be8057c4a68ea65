"""The interface against its own description: whatever is sent, the answer is one that the description names."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from clipsieve.review.desk import Desk
from clipsieve.review.ledger import open_ledger
from clipsieve.review.options import DeskOptions
from clipsieve.review.web.access import Limit, Limits
from clipsieve.review.web.app import create_app
from review_client import ACCESS, HOST, ORIGIN, Visitor
from reviewed_runs import copy_run

pytestmark = pytest.mark.slow
EASY = Limit(burst=1e9, per_s=1e9)
ACCEPTED = ["2xx", "400", "404", "409"]  # what has the right form may still ask for what is not there


@pytest.fixture(scope="module")
def own_desk(tmp_path_factory) -> Iterator[Desk]:
    place: Path = tmp_path_factory.mktemp("schema")
    run = copy_run(place / "run")
    with open_ledger(place / "verdicts.db", "schema") as ledger:
        desk = Desk(run, ledger, DeskOptions(n_workers=1))
        desk.preparation.wait(60)
        yield desk
        desk.close()


@pytest.fixture(scope="module")
def document(own_desk):
    app = create_app(own_desk, replace(ACCESS, limits=Limits(*[EASY] * len(fields(Limits)))))
    visitor = Visitor(TestClient(app, base_url=ORIGIN, follow_redirects=False)).log_in()
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    own = {"Host": HOST, "Origin": ORIGIN, "Cookie": cookies, "X-CSRF-Token": visitor.csrf}
    config = SchemathesisConfig.from_dict(
        {
            "base-url": ORIGIN,
            "headers": own,
            "seed": 20261128,
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
        }
    )
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, config=config, headers=own)


OPERATIONS = [
    ("GET", "/api/state"),
    ("GET", "/api/summary"),
    ("GET", "/images/{row}/{sha16}/{size}.webp"),
    *[
        ("POST", f"/api/{name}")
        for name in ("take", "verdicts", "release", "renew", "learn", "search", "similar", "group")
    ],
]


def test_every_operation_is_put_to_the_test(document):
    found = [result.ok() for result in document.get_all_operations()]
    assert {(operation.method.upper(), operation.path) for operation in found} == set(OPERATIONS)


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # of what draws the cases
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_one_that_the_description_names(document, method, path, mode):
    operation = document[path][method]
    if mode is GenerationMode.NEGATIVE and path in ("/api/state", "/api/summary"):
        return  # nothing that could be wrong

    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        # Which times are within reach, a schema cannot say.
        excluded = [positive_data_acceptance] if path == "/api/verdicts" else []
        case.call_and_validate(excluded_checks=excluded)

    check()
