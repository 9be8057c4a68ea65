"""A cluster that loses machines, workers and decoders in mid-run: the run is the one that one machine writes, byte for byte."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clipsieve import open_source, write_demo_data
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import LocalEngine, ScanOptions, ScanReport, scan
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, lay_out
from ray_cluster import RayMachines, WatchedChoice, descendants, title
from waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
N_IMAGES, PART_SIZE = 600, 50
OPTIONS = ScanOptions(part_size=PART_SIZE)
ENCODER, DECODER = "ray::MapWorker(MapBatches(EncodeBatches))", "ray::MapBatches(decode_shards)"


def parts(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "images").glob("part-*")}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ray-faults") / "images"
    write_demo_data(folder, n_images=N_IMAGES)
    return folder


@pytest.fixture(scope="module")
def whole(images) -> tuple[ScanReport, dict[str, bytes]]:
    """Return what one machine makes of it."""
    run = images.parent / "local"
    with EncoderChoice().load() as encoder:
        report = scan(open_source(images), run, encoder, options=OPTIONS, engine=LocalEngine())
    return report, parts(run)


@pytest.fixture(scope="module")
def machines() -> Iterator[RayMachines]:
    with RayMachines(3) as running, RayCluster(running.address):
        yield running


class Scan:
    """A scan over the cluster, with a hand at its neck: `strike` is called once, when so many images are done."""

    def __init__(self, images: Path, scratch: Path) -> None:
        self._images, self.run = images, scratch / "run"
        self.choice = WatchedChoice(device="cpu", log_path=str(scratch / "encoded"), pause_s=0.1)
        self.n_in_flight = 0

    def go(self, strike: Callable[[], object], n_before: int) -> ScanReport:
        struck: list[bool] = []

        def on_progress(n_done: int, _n_total: int) -> None:
            if n_done >= n_before and not struck:
                struck.append(True)
                strike()
                self.n_in_flight = self.choice.n_encoded - PART_SIZE * len(parts(self.run))

        cluster = RayCluster()
        layout = lay_out(cluster.nodes, Wanted(), on_gpu=False)
        choice = replace(self.choice, threads=layout.threads)
        with RayEncoder(choice, layout) as encoder:
            source, engine = open_source(self._images), RayEngine(cluster)
            report = scan(source, self.run, encoder, options=OPTIONS, engine=engine, on_progress=on_progress)
        assert struck
        return report


def counts(report: ScanReport) -> ScanReport:
    return replace(report, elapsed_s=0.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_dies_costs_no_more_than_what_was_on_its_way(machines, images, whole, tmp_path, seed):
    moment = random.Random(seed)
    victim, n_before = moment.choice(machines.workers), moment.randrange(1, N_IMAGES * 3 // 4)
    scan_ = Scan(images, tmp_path)
    report = scan_.go(lambda: machines.kill(victim), n_before)
    machines.add()
    assert (counts(report), parts(scan_.run)) == (counts(whole[0]), whole[1])
    n_tried_out = 1
    assert N_IMAGES <= scan_.choice.n_encoded - n_tried_out <= N_IMAGES + scan_.n_in_flight


def stop_one(pids: list[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def decoding_processes(machines: RayMachines) -> list[int]:
    found = [pid for worker in machines.named("ray::") for pid in descendants(worker)]
    return [pid for pid in found if "clipsieve.images.worker" in title(pid)]


def test_workers_of_every_kind_may_die(machines, images, whole, tmp_path):
    struck = []

    def strike_a_worker() -> None:
        wait_until(lambda: stop_one(machines.named(DECODER)))
        struck.append("a worker that decodes")

    def strike_others() -> None:
        assert stop_one(machines.named(ENCODER))
        assert stop_one(decoding_processes(machines))
        struck.append("an encoder and a decoding process")

    scan_ = Scan(images, tmp_path)
    watcher = threading.Thread(target=strike_a_worker)
    watcher.start()
    report = scan_.go(strike_others, 100)
    watcher.join()
    assert struck == ["a worker that decodes", "an encoder and a decoding process"]
    assert (counts(report), parts(scan_.run)) == (counts(whole[0]), whole[1])


def test_a_machine_that_is_lost_for_good_stops_nothing(images, whole, tmp_path):
    import ray

    ray.shutdown()
    with RayMachines(2, cpus=2) as two, RayCluster(two.address):
        scan_ = Scan(images, tmp_path)
        report = scan_.go(lambda: two.kill(two.workers[0]), 100)
        assert len(RayCluster().nodes) == 1
    assert (counts(report), parts(scan_.run)) == (counts(whole[0]), whole[1])
