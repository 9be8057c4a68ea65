"""Encoders on a cluster: each worker of the pool loads the model once, and two of them may share a GPU."""

import pytest

from clipsieve import open_source
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import LocalEngine, ScanOptions, scan
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, lay_out
from engines.ray.test_parity import parts, plain
from image_files import png
from ray_cluster import RayMachines, ToldChoice

pytestmark = [pytest.mark.ray, pytest.mark.slow]
N_IMAGES, PART_SIZE = 120, 10


def test_two_encoders_share_a_gpu_and_load_the_model_once_each(tmp_path):
    """Ray only believes that there is a GPU: the model computes on the CPU."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(N_IMAGES):
        (images / f"{number}.png").write_bytes(png(number % 200))
    options = ScanOptions(part_size=PART_SIZE)
    choice = ToldChoice(device="cpu", threads=1, log_path=str(tmp_path / "encoded"), pause_s=0.05)
    with RayMachines(1, cpus=3, gpus=1) as machines, RayCluster(machines.address) as cluster:
        layout = lay_out(cluster.nodes, Wanted(gpus_per_encoder=0.5), on_gpu=True)
        with RayEncoder(choice, layout) as encoder:
            n_tried_out = len(choice.loads)
            report = scan(open_source(images), tmp_path / "ray", encoder, options=options, engine=RayEngine(cluster))
    with EncoderChoice().load() as local:
        here = scan(open_source(images), tmp_path / "local", local, options=options, engine=LocalEngine())
    assert (plain(report), parts(tmp_path / "ray")) == (plain(here), parts(tmp_path / "local"))
    assert (layout.encoders, layout.n_decoders) == (2, 1)
    in_the_pool = choice.loads[n_tried_out:]
    assert len(dict(in_the_pool)) == len(in_the_pool) == 2
    assert {gpus for _, gpus in choice.loads} == {"0"}
