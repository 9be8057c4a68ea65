"""`kill -9` at 20 random moments on each kind of source: the same command again ends with the same bytes, and encodes no
finished part twice."""

import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsieve import write_demo_data
from s3_server import BUCKET, S3Server

N_KILLS = 20
N_IMAGES = 400
PART_SIZE = 25


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "images"
    write_demo_data(folder, n_images=N_IMAGES)
    return folder


@pytest.fixture(scope="module")
def tars(images) -> Path:
    folder = images.parent / "tars"
    folder.mkdir()
    paths = sorted(path for path in images.rglob("*") if path.is_file())
    for number in range(4):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for path in paths[number::4]:
                tar.add(path, path.relative_to(images))
    return folder


@pytest.fixture(scope="module")
def bucket(images) -> Iterator[S3Server]:
    with S3Server() as server:
        for path in sorted(path for path in images.rglob("*") if path.is_file())[::2]:
            server.put(f"images/{path.relative_to(images).as_posix()}", path.read_bytes())
        yield server


def command(source: str, run: Path) -> list[str]:
    words = ["scan", source, "-o", str(run), "--part-size", str(PART_SIZE), "--workers", "2", "-q"]
    return [sys.executable, "-m", "clipsieve", *words]


def finish(source: str, run: Path, environment: dict[str, str]) -> float:
    start = time.monotonic()
    done = subprocess.run(command(source, run), env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start


def parts(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "images").glob("part-*.parquet")}


def kill_at(moment_s: float, source: str, run: Path, environment: dict[str, str]) -> None:
    scan = subprocess.Popen(command(source, run), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        scan.wait(timeout=moment_s)
    except subprocess.TimeoutExpired:
        scan.send_signal(signal.SIGKILL)
    scan.communicate(timeout=60)  # ends when the decoding processes have let go of the pipes, and so have ended too


def check(source: str, scratch: Path, environment: dict[str, str]) -> None:
    whole_s = finish(source, scratch / "whole", environment)
    whole = parts(scratch / "whole")
    moments, n_cut = random.Random(20), 0
    for number in range(N_KILLS):
        run = scratch / f"run{number}"
        kill_at(moments.uniform(0.15, 0.9) * whole_s, source, run, environment)
        kept = {path: path.stat().st_mtime_ns for path in (run / "images").glob("part-*.parquet")}
        n_cut += len(kept) < len(whole)
        finish(source, run, environment)
        assert parts(run) == whole, number
        assert {path: path.stat().st_mtime_ns for path in kept} == kept, number
        left = {path.name for path in run.rglob("*") if path.is_file()} - {
            *whole,
            "run.json",
            "history.jsonl",
            "listing.json",
        }
        assert not left, number
    assert n_cut >= N_KILLS // 4  # the moments did fall into the work, on a machine that others use as well


@pytest.mark.slow
def test_a_scan_of_a_folder_survives_being_killed(images, tmp_path):
    check(str(images), tmp_path, dict(os.environ))


@pytest.mark.slow
def test_a_scan_of_tar_files_survives_being_killed(tars, tmp_path):
    check(str(tars), tmp_path, dict(os.environ))


@pytest.mark.slow
def test_a_scan_of_s3_survives_being_killed(bucket, tmp_path):
    check(f"s3://{BUCKET}/images", tmp_path, os.environ | bucket.environment)
