"""A real S3 server for the exports to it."""

from collections.abc import Iterator

import pytest

from s3_server import S3Server


@pytest.fixture(scope="module")
def started() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def server(started, monkeypatch) -> Iterator[S3Server]:
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    started.fail()
    yield started
    started.fail()
