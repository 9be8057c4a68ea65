"""A dry run on a cluster: the model loads on a worker, the estimate holds, and nothing stays there."""

from contextlib import contextmanager

import pytest

from clipsieve import write_demo_data
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import ScanOptions, scan
from clipsieve.engines.dry_run import dry_run
from clipsieve.engines.ray import RayEncoder, RayEngine, Wanted, lay_out
from clipsieve.errors import ClipsieveError, UsageError
from clipsieve.sources import FolderSource
from waiting import wait_until

pytestmark = pytest.mark.ray


@contextmanager
def opening(cluster, wanted=None, **choice):
    layout = lay_out(cluster.nodes, wanted or Wanted(), on_gpu=False)
    with RayEncoder(EncoderChoice(device="cpu", threads=layout.threads, **choice), layout) as encoder:
        yield encoder, RayEngine(cluster)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("dry") / "images"
    write_demo_data(root, n_images=2000)
    return root


def wait_until_free() -> None:
    import ray

    wait_until(lambda: ray.available_resources().get("CPU", 0) >= 2, "a worker still holds its CPU")


def test_the_estimate_is_near_a_scan_and_nothing_stays(cluster, images, tmp_path):
    source, options, guessed = FolderSource(images), ScanOptions(part_size=200), []
    found = dry_run(source, tmp_path / "run", opening(cluster), options=options, price=2.0)
    assert list(tmp_path.iterdir()) == []
    wait_until_free()
    assert (found.workplace.engine, found.workplace.cores, found.workplace.machines) == ("ray", 2, 1)
    assert found.probe.n_images == 200
    guessed.append(found.forecast)
    with opening(cluster) as (encoder, engine):
        took_s = scan(source, tmp_path / "run", encoder, options=options, engine=engine).elapsed_s
    again = dry_run(source, tmp_path / "other", opening(cluster), options=options)
    guessed.append(again.forecast)
    # Of so few images, starting the workers is most of the time, and how long that takes differs from one time to the next; on a
    # machine with other work, more than the interval allows for.
    assert min(each.least_s for each in guessed) / 3 < took_s < 3 * max(each.most_s for each in guessed), guessed


def test_machines_that_are_not_there_are_refused(cluster, images, tmp_path):
    with pytest.raises(UsageError, match="less than was asked for"):
        dry_run(FolderSource(images), tmp_path / "run", opening(cluster, Wanted(encoders=9)))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_worker_finds_is_said(cluster, images, tmp_path):
    with pytest.raises(ClipsieveError, match="no-model"):
        dry_run(FolderSource(images), tmp_path / "run", opening(cluster, model=str(tmp_path / "no-model")))
    assert list(tmp_path.iterdir()) == []
    wait_until_free()
