"""An encoder that runs out of its device's memory in a worker of a cluster goes on with half the batch, and no row is lost."""

from pathlib import Path

import numpy as np
import pytest

import source_kinds
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import LocalEngine, ScanOptions, scan
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, lay_out
from clipsieve.sources import open_source
from clipsieve.store import Run
from model_folders import make_torch_folder
from ray_cluster import BrimChoice, RayMachines

pytestmark = [pytest.mark.ray, pytest.mark.torch, pytest.mark.slow]
N_ROOM = 3


def embeddings(run: Path) -> np.ndarray:
    tables = Run.open(run).iter_images(["embedding"])
    return np.array([row for table in tables for row in table.column("embedding").to_pylist()], dtype=np.float32)


def test_a_batch_that_does_not_fit_is_halved(tmp_path):
    pytest.importorskip("torch")
    model = str(make_torch_folder(tmp_path / "model"))
    source, options = open_source(source_kinds.webdataset(tmp_path / "source")), ScanOptions(part_size=100)
    told = {"model": model, "backend": "torch", "device": "cpu", "threads": 1, "batch_size": 8}
    choice = BrimChoice(**told, log_path=str(tmp_path / "log"), n_room=N_ROOM)
    with RayMachines(1, cpus=2) as machines, RayCluster(machines.address) as cluster:
        layout = lay_out(cluster.nodes, Wanted(), on_gpu=False)
        with RayEncoder(choice, layout) as there:
            report = scan(source, tmp_path / "ray", there, options=options, engine=RayEngine(cluster, batch_size=8))
    with EncoderChoice(**told).load() as here:
        scan(source, tmp_path / "local", here, options=options, engine=LocalEngine(batch_size=8))
    assert (report.n_scanned, report.n_failed) == (source_kinds.N_IMAGES, 0)
    asked = set(map(int, (tmp_path / "log").read_text().split()))
    assert max(asked) > N_ROOM
    assert min(asked) <= N_ROOM
    # Batches of another length differ by rounding alone.
    np.testing.assert_allclose(embeddings(tmp_path / "ray"), embeddings(tmp_path / "local"), atol=2e-3)
