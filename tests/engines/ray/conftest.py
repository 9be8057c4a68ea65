"""A Ray cluster on this machine for the tests of a module."""

from collections.abc import Iterator

import pytest

from clipsieve.engines.ray import RayCluster
from ray_cluster import patiently

OBJECT_STORE_BYTES = 200 * 1024**2


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    import ray

    def start() -> None:
        ray.init(
            num_cpus=2,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            address="local",
            _system_config={"worker_niceness": 0},  # 15 by default: beside other work, nothing would go on
        )

    patiently(start, ray.shutdown)
    with RayCluster() as connected:
        yield connected
    ray.shutdown()
