"""Where runs, sources and models lie, as seen from workers whose current folder is another one; and runs behind URLs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import source_kinds
from clipsieve.store import Run
from s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def s3():
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def address(s3, tmp_path_factory):
    """Return the address of a cluster that was started in another folder."""
    from ray_cluster import RayMachines

    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    try:
        with RayMachines(1, cpus=2, environment=s3.environment) as machines:
            os.chdir(before)
            yield machines.address
    finally:
        os.chdir(before)


def run(words: list[str], folder, address: str, s3: S3Server) -> str:
    command = [sys.executable, "-m", "clipsieve", *words, "--engine", "ray", "--ray-address", address]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | s3.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("place", ["run", f"s3://{BUCKET}/run"])
def test_every_command_works_with_a_relative_place_and_with_a_url(address, s3, tmp_path, monkeypatch, place):
    source_kinds.folder(tmp_path / "photos")
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    run(["scan", "photos", "-o", place, "--part-size", "3", "-q"], tmp_path, address, s3)
    run(["score", place, "-c", "positive-negative", "-q"], tmp_path, address, s3)
    found = json.loads(run(["search", place, "a smile", "--json", "-k", "2"], tmp_path, address, s3).splitlines()[0])
    assert found
    run(["report", place, "-c", "positive-negative", "-o", "report.html", "-q"], tmp_path, address, s3)
    run(["export", place, "clean", "-c", "positive-negative", "--undecided", "keep", "-q"], tmp_path, address, s3)
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert (tmp_path / "clean" / "manifest.parquet").exists()
    opened = Run.open(place)
    assert [images.num_rows for images, _ in opened.iter_scores("positive-negative")] == [3, 3, 1]
