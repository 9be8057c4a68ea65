"""Workers of a cluster make of a run what one process makes of it; a worker that dies costs its items only."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from clipsieve.engines.ray import RayEngine
from clipsieve.errors import RunCorruptError
from mapped_work import adopted, export_by, files, found_by, report_by, scored_run, scored_source, scores_by
from source_kinds import csv_of_paths, folder, webdataset

pytestmark = pytest.mark.ray


@pytest.fixture
def engine(cluster):
    return RayEngine(cluster)


@pytest.fixture
def run(tmp_path):
    return scored_run(tmp_path / "run")


class Deadly(RayEngine):
    """Whoever has done the third piece of work is killed before he can say so; a file keeps count of who tried."""

    def __init__(self, cluster, count: Path) -> None:
        super().__init__(cluster)
        self._count = count

    def map(self, work, items):
        def and_die(work, count, numbered):
            number, item = numbered
            found = work(item)
            if number == 2:
                with count.open("ab") as file:
                    file.write(b".")
                if count.stat().st_size == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            return found

        yield from super().map(partial(and_die, work, self._count), enumerate(items))


def test_scores_are_the_same_files_although_a_worker_dies(run, cluster, tmp_path):
    expected = scores_by(run, None)
    assert scores_by(run, Deadly(cluster, tmp_path / "count")) == expected
    assert (tmp_path / "count").read_bytes() == b".."


def test_what_is_found_and_reported_is_the_same(run, engine):
    assert found_by(run, engine) == found_by(run, None)
    assert report_by(run, engine) == report_by(run, None)


def test_the_error_of_a_worker_arrives_as_it_was(run, engine):
    run.image_part(4).unlink()
    with pytest.raises(RunCorruptError, match=r"part-00004.parquet` is missing") as alone:
        scores_by(run, None)
    with pytest.raises(RunCorruptError) as there:
        scores_by(run, engine)
    assert str(there.value) == str(alone.value)


@pytest.mark.parametrize("write", [folder, webdataset, csv_of_paths], ids=lambda write: write.__name__)
def test_an_export_leaves_the_same_files_although_a_worker_dies(tmp_path, cluster, write):
    run = scored_source(write(tmp_path / "source"), tmp_path / "run")
    expected = export_by(run, tmp_path / "alone", None)
    assert export_by(run, tmp_path / "together", Deadly(cluster, tmp_path / "count")) == expected


def test_an_export_of_embeddings_again_writes_nothing_twice(tmp_path, engine):
    run = adopted(tmp_path / "arrays", tmp_path / "run")
    expected = export_by(run, tmp_path / "alone", None)
    assert export_by(run, tmp_path / "together", engine) == expected
    before = {name: path.stat().st_mtime_ns for name, path in files(tmp_path / "together").items()}
    assert export_by(run, tmp_path / "together", engine) == expected
    after = {name: path.stat().st_mtime_ns for name, path in files(tmp_path / "together").items()}
    assert {name for name in before if before[name] != after[name]} == {"keep/manifest.parquet"}
