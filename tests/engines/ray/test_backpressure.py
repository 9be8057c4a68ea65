"""What is under way stays within the limit: a source of several times the object store goes through it, and nothing is spilled.

The figures are Ray's own: the bytes of shared memory that objects take on all machines, as each machine reports them now and
then (a short peak in between is not seen), and the bytes that lie in the folders to which it writes what it has no room for.
"""

import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve import open_source
from clipsieve.engines import LocalEngine, ScanOptions, scan
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, lay_out
from image_files import tar
from odd_inputs import encoded
from ray_cluster import OBJECT_STORE_BYTES, LargePixelsChoice, RayMachines

pytestmark = [pytest.mark.ray, pytest.mark.slow]
N_IMAGES, IMAGE_BYTES = 3000, 3 * 224 * 224
LIMIT_BYTES = 60 * 1024**2


class Watch:
    """Looks at the stores several times a second while a block runs."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.used: list[int] = []
        self.n_spilled_bytes = 0
        self.driver_bytes: list[int] = []

    def _look(self) -> None:
        import ray

        while not self._is_over.wait(0.1):
            free, whole = (each()["object_store_memory"] for each in (ray.available_resources, ray.cluster_resources))
            self.used.append(int(whole - free))
            spilled = [path.stat().st_size for path in self._scratch.rglob("ray_spilled_objects*/*")]
            self.n_spilled_bytes = max(self.n_spilled_bytes, sum(spilled))
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            shared = int(Path("/proc/self/statm").read_text().split()[2])
            self.driver_bytes.append((pages - shared) * resource.getpagesize())

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def machines() -> Iterator[RayMachines]:
    with RayMachines(1, cpus=2) as running, RayCluster(running.address):
        yield running


@pytest.fixture(scope="module")
def tars(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "tars"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = [encoded(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)), "PNG") for _ in range(50)]
    for number in range(3):
        members = [(f"{i:05d}.png", pictures[i % len(pictures)]) for i in range(N_IMAGES // 3)]
        (folder / f"{number:05d}.tar").write_bytes(tar(members))
    return folder


@pytest.mark.parametrize("limit_bytes", [None, LIMIT_BYTES], ids=["the cluster's own", "--object-store-memory"])
def test_a_source_larger_than_the_object_store_goes_through_it(machines, tars, tmp_path, limit_bytes):
    assert N_IMAGES * IMAGE_BYTES > 4 * OBJECT_STORE_BYTES
    cluster, options = RayCluster(), ScanOptions(part_size=500)
    layout = lay_out(cluster.nodes, Wanted(object_store_bytes=limit_bytes), on_gpu=False)
    choice = LargePixelsChoice(log_path=str(tmp_path / "log"), pause_s=0.05)  # so that decoding is ahead
    begun_s = time.monotonic()
    with RayEncoder(choice, layout) as encoder, Watch(machines.scratch) as watch:
        report = scan(open_source(tars), tmp_path / "run", encoder, options=options, engine=RayEngine(cluster))
    assert (report.n_scanned, report.n_failed) == (N_IMAGES, 0)
    print(f"{max(watch.used) / 2**20:.0f} MiB of store at most, {time.monotonic() - begun_s:.0f} s")
    print(f"driver {watch.driver_bytes[0] / 2**20:.0f} to {max(watch.driver_bytes) / 2**20:.0f} MiB")
    assert watch.n_spilled_bytes == 0
    assert max(watch.used) <= (limit_bytes or OBJECT_STORE_BYTES)
    assert max(watch.used) > 10 * 16 * IMAGE_BYTES  # the stores were used at all: else this shows nothing
    assert max(watch.driver_bytes) - watch.driver_bytes[0] < 100 * 1024**2
    with choice.load() as local:
        scan(open_source(tars), tmp_path / "local", local, options=options, engine=LocalEngine())
    for path in (tmp_path / "local" / "images").iterdir():
        assert (tmp_path / "run" / "images" / path.name).read_bytes() == path.read_bytes()
