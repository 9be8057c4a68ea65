"""A real S3 server for the exports to it."""

from collections.abc import Iterator

import pytest

from s3_server import S3Server


@pytest.fixture(scope="module")
def started() -> Iterator[S3Server]:
    from s3fs import S3FileSystem

    # A file system is kept for the process with the server that it was made for; other modules have servers of their own.
    S3FileSystem.clear_instance_cache()
    with S3Server() as server:
        yield server
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def server(started, monkeypatch) -> Iterator[S3Server]:
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    started.fail()
    yield started
    started.fail()
