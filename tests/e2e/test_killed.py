"""A scan that is killed outright goes on where it stopped, and ends as if nothing had happened."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipsieve import open_source, write_demo_data

N_PARTS = 11


def start(images: Path, run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "clipsieve", "scan", str(images), "-o", str(run), "--part-size", "100", "-q"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def parts(run: Path) -> dict[str, bytes]:
    """Return what stands under a final name: unfinished writes come and go."""
    return {path.name: path.read_bytes() for path in (run / "images").glob("part-*") if (run / "images").exists()}


@pytest.mark.slow
@pytest.mark.parametrize("n_finished", [0, 1, 4, 9])
def test_a_killed_scan_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, n_finished: int) -> None:
    images, whole, cut = tmp_path / "images", tmp_path / "whole", tmp_path / "cut"
    write_demo_data(images, n_images=1050)
    assert len(open_source(images).plan(100).shards) == N_PARTS
    start(images, whole).communicate(timeout=120)
    scan = start(images, cut)
    while len(parts(cut)) < n_finished and scan.poll() is None:
        time.sleep(0.01)
    scan.send_signal(signal.SIGKILL)
    _, complaints = scan.communicate(timeout=60)  # ends when the decoding processes have gone as well
    assert complaints == ""
    kept = {name: path.stat().st_mtime_ns for path in (cut / "images").glob("part-*") for name in [path.name]}
    again = start(images, cut)
    _, complaints = again.communicate(timeout=120)
    assert (again.returncode, complaints) == (0, "")
    assert parts(cut) == parts(whole)
    assert {path.name for path in (cut / "images").iterdir()} == set(parts(whole))
    assert all((cut / "images" / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())
