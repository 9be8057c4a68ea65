"""What tests in several folders stand on."""

import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

HERE = Path(__file__).parent

# What `pytest -q` leaves to `make test`, so that it takes less than a minute on two cores: the many cases of what is finished and
# stands at the edge. A test of a module that is being worked on is run by its name, with `-m ""`.
THOROUGH = (
    "classifiers/test_plain_pickle.py",
    "cli",
    "contracts",
    "deploy",
    "docs",
    "e2e",
    "encoders/test_folder.py",
    "encoders/test_quantize.py",
    "engines/test_dry_run.py",
    "engines/test_duplicates.py",
    "engines/test_int8.py",
    "engines/test_map.py",
    "engines/test_pool_together.py",
    "engines/test_search.py",
    "engines/test_tune.py",
    "hostile",
    "outputs",
    "review",
    "training",
)


@cache
def is_thorough(path: Path) -> bool:
    """Whether a file or folder of tests is, or lies in, one of those."""
    within = [path, *path.parents]
    return any(HERE / name in within for name in THOROUGH)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is thorough if nothing of it is wanted: that takes longer than many of the tests."""
    is_wanted = "not slow" not in config.option.markexpr  # as pyproject.toml says where nothing else is said
    return None if is_wanted or not is_thorough(collection_path) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is thorough as slow."""
    for item in items:
        if is_thorough(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def one_cluster_at_a_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the modules that start Ray wait for each other: it gives its own processes 30 s to start, and no more."""
    marks = getattr(request.module, "pytestmark", [])
    if all(mark.name != "ray" for mark in (marks if isinstance(marks, list) else [marks])):
        yield
        return
    with (Path(tempfile.gettempdir()) / "clipsieve-tests-ray.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Give a file system of its own of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting a small disk needs root's rights: {done.stderr.strip()}")
    yield disk
    # Lazily, whoever still has a file there: what stays mounted would stop pytest from removing its folders.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
