"""`kill -9` in the middle of an export: nothing half is left, and the same command ends as if nothing had been."""

import hashlib
import os
import random
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve import write_demo_data

N_KILLS = 12
N_IMAGES = 600

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "images"
    write_demo_data(folder, n_images=N_IMAGES)
    return folder


def as_tars(images: Path, to: Path) -> Path:
    to.mkdir()
    paths = sorted(path for path in images.rglob("*.png") if path.is_file())
    for number in range(6):
        with tarfile.open(to / f"{number:05d}.tar", "w") as tar:
            for path in paths[number::6]:
                tar.add(path, path.relative_to(images))
    return to


def as_parquet(images: Path, to: Path) -> Path:
    to.mkdir()
    paths = sorted(path for path in images.rglob("*.png") if path.is_file())
    for number in range(6):
        cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths[number::6]]
        pq.write_table(pa.table({"image": cells}), to / f"{number:05d}.parquet")
    return to


def clipsieve(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "clipsieve", *map(str, words)]


def run(*words: str | Path) -> None:
    done = subprocess.run(clipsieve(*words), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def contents(folder: Path) -> dict[str, str]:
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("make", [lambda images, to: images, as_tars, as_parquet], ids=["folder", "tars", "parquet"])
def test_an_export_survives_being_killed(images, tmp_path, make):
    source = make(images, tmp_path / "source")
    run("scan", source, "-o", tmp_path / "run", "-q")
    run("score", tmp_path / "run", "-c", "positive-negative")
    words = ["--policy", "flagged", "--undecided", "remove", "--remove-to"]
    run("export", tmp_path / "run", tmp_path / "whole", *words, tmp_path / "whole gone")
    whole = contents(tmp_path / "whole"), contents(tmp_path / "whole gone")
    rng, n_cut = random.Random(5), 0
    command = clipsieve("export", tmp_path / "run", tmp_path / "clean", *words, tmp_path / "gone")
    for _ in range(N_KILLS):
        export = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Not after a time, which another machine would need less or more of, but once so many files are there, and a moment on.
        n_wanted = rng.randrange(1, max(2, len(whole[0]) - 1))
        while export.poll() is None and len(names_in(tmp_path / "clean")) < n_wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        n_cut += export.poll() is None
        export.kill()
        export.wait(timeout=60)
        check_halves(tmp_path / "clean", whole[0])
        check_halves(tmp_path / "gone", whole[1])
    assert n_cut >= 3, "the moments were chosen too late"
    run("export", tmp_path / "run", tmp_path / "clean", *words, tmp_path / "gone")
    assert contents(tmp_path / "clean").keys() == whole[0].keys()
    for name, digest in contents(tmp_path / "clean").items():
        assert digest == whole[0][name] or name in (".clipsieve-export.json", "manifest.parquet"), name
    assert {k: v for k, v in contents(tmp_path / "gone").items() if k[0] != "."} == {
        k: v for k, v in whole[1].items() if k[0] != "."
    }


def names_in(folder: Path) -> list[str]:
    return [name for _, _, names in os.walk(folder) for name in names]


def check_halves(place: Path, whole: dict[str, str]) -> None:
    """Make sure that whatever stands under its final name is whole."""
    for name, digest in contents(place).items() if place.exists() else []:
        if not name.rpartition("/")[2].startswith(".") and name != "manifest.parquet":
            assert whole.get(name) == digest, name
