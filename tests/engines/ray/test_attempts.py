"""Work that ends every worker it is given to: the scan ends in words, and does not go on for ever."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clipsieve import open_source
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import ScanOptions, ScanReport, scan
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, attempts, lay_out
from clipsieve.engines.ray.attempts import counted
from clipsieve.errors import EngineError
from clipsieve.sources import Source
from image_files import png
from ray_cluster import DeadlyChoice, DeadlyFolder, Deaths, RayMachines
from waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
N_IMAGES, PART_SIZE, MOST = 20, 10, 4
ENDED = "one worker of the cluster after the other has ended in the middle of the same work"
WHERE = f"on {socket.gethostname()} (at least {MOST} times)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayMachines(1, cpus=2) as machines, RayCluster(machines.address) as connected:
        yield connected


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("deadly") / "images"
    folder.mkdir()
    for number in range(N_IMAGES):
        (folder / f"{number:02d}.png").write_bytes(png(number))
    return folder


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", MOST)


def go(cluster: RayCluster, source: Source, run: Path, choice: EncoderChoice) -> ScanReport:
    layout = lay_out(cluster.nodes, Wanted(), on_gpu=False)
    with RayEncoder(replace(choice, threads=layout.threads), layout) as encoder:
        engine = RayEngine(cluster, batch_size=5)
        return scan(source, run, encoder, options=ScanOptions(part_size=PART_SIZE), engine=engine)


def test_a_batch_that_ends_every_encoder_is_named_and_none_that_is_encoded_beside_it(cluster, images, tmp_path):
    """Each time it ends an encoder, one takes another batch with it that began before."""
    deaths, log = Deaths(str(tmp_path / "encoder")), str(tmp_path / "encoded")
    choice = DeadlyChoice(device="cpu", log_path=log, pause_s=1.0, deaths=deaths, deadly=7, slow=12)
    with pytest.raises(EngineError, match=ENDED) as caught:
        go(cluster, open_source(images), tmp_path / "run", choice)
    assert caught.value.found == f"`05.png` and 4 more of part 0, being encoded, {WHERE}"
    assert deaths.n == 1 + MOST  # the first one was of a worker that had never ended before
    assert go(cluster, open_source(images), tmp_path / "run", EncoderChoice(device="cpu")).n_scanned == N_IMAGES


def test_a_part_that_ends_every_worker_that_reads_it_is_named(cluster, images, tmp_path):
    deaths = Deaths(str(tmp_path / "decoder"))
    source = DeadlyFolder(images, deaths, deadly=1)
    with pytest.raises(EngineError, match=ENDED) as caught:
        go(cluster, source, tmp_path / "run", EncoderChoice(device="cpu"))
    assert caught.value.found == f"part 1, being decoded, {WHERE}"
    assert deaths.n == MOST


def test_what_is_finished_in_between_is_not_counted(cluster):
    with counted() as told:
        for _ in range(2 * MOST):
            with told.over("a", "a".format):
                pass
        for _ in range(MOST):
            with pytest.raises(ZeroDivisionError), told.over("b", "b".format):
                raise ZeroDivisionError
        assert told.suspects() == {"b"}
        with pytest.raises(EngineError), told.over("b", "b".format):
            pass
    wait_until(lambda: told.suspects() == frozenset())  # the counts are gone, and nobody is blamed
    with told.over("b", "b".format):
        pass
