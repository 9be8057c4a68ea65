"""What goes wrong with images ends as the same rows on a cluster as on one machine: each with its reason, nothing else lost."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsieve.encoders import EncoderChoice
from clipsieve.engines import BlockList, DecodeLimits, LocalEngine, ScanOptions, scan
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, lay_out
from clipsieve.sources import FolderSource
from clipsieve.store import Run
from engines.test_pool_together import ODD_DECODER
from hostile.test_folder import write_corpus
from image_files import png
from odd_inputs import odd_images
from ray_cluster import RayMachines

pytestmark = [pytest.mark.ray, pytest.mark.slow]
BLOCKED = 7

# Of the processes that this finds in its way, decoders alone shall be odd.
SITE = """
import sys
if "clipsieve.images.worker" in sys.orig_argv:
    exec({code!r})
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE.format(code=ODD_DECODER.format(log="/dev/null")))
    return folder


@pytest.fixture(scope="module")
def cluster(site) -> Iterator[RayCluster]:
    with RayMachines(2, environment={"PYTHONPATH": str(site)}) as machines, RayCluster(machines.address) as connected:
        yield connected


def write_images(root: Path) -> Path:
    root.mkdir()
    write_corpus(root)
    for name, content in odd_images().items():
        (root / f"odd {name}.png").write_bytes(content)
    (root / "m crash.png").write_bytes(b"crash")
    (root / "m hang.png").write_bytes(b"hang")
    (root / "m blocked.png").write_bytes(png(BLOCKED))
    return root


def test_failures_are_the_same_rows(cluster, site, tmp_path, monkeypatch):
    source = FolderSource(write_images(tmp_path / "images"))
    blocked = BlockList(sha256=frozenset({hashlib.sha256(png(BLOCKED)).digest()}))
    options = ScanOptions(part_size=20, limits=DecodeLimits(max_seconds=3), block_list=blocked)
    layout = lay_out(cluster.nodes, Wanted(), on_gpu=False)
    with RayEncoder(EncoderChoice(device="cpu", threads=layout.threads), layout) as remote:
        there = scan(source, tmp_path / "ray", remote, options=options, engine=RayEngine(cluster, batch_size=4))
    monkeypatch.setenv("PYTHONPATH", str(site))
    with EncoderChoice().load() as local:
        engine = LocalEngine(workers=2, batch_size=4)
        here = scan(source, tmp_path / "local", local, options=options, engine=engine)
    assert (there.n_listed, there.n_scanned, there.n_failed) == (here.n_listed, here.n_scanned, here.n_failed)
    tables = [list(Run.open(tmp_path / name).iter_images()) for name in ("ray", "local")]
    assert tables[0] == tables[1]
    found = Counter(code for table in tables[0] for code in table.column("failure_code").to_pylist())
    assert {"decoder_crashed", "timed_out", "blocked", "truncated", "not_found", None} <= set(found)
    for path in (tmp_path / "local" / "images").iterdir():
        assert (tmp_path / "ray" / "images" / path.name).read_bytes() == path.read_bytes()
