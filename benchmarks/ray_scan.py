"""How near a scan on a Ray cluster of this machine alone comes to the local engine, and what a second machine brings.

Both sides do the same work with the same two cores, in turn: photographs through an encoder of the shape of ViT-B/32 with random
weights, and small pictures through the embedded model, in parts of 1,000. Workers are started anew for each scan, which takes the
same time for few images as for many, and Ray takes some more seconds until it knows what it may use: so the rate is that of the
images from two fifths to nine tenths, as the scan reports its progress. The column `all` is what all of it took, from before the
model was loaded.

For the scaling, a machine is a Ray node of one CPU whose processes all keep to one core: one of them, then two. This process,
which writes the parts, keeps to the core of the first, as it would on a cluster. For `score`, 200,000 random embeddings are read,
scored and written.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._large_run import unit_vectors, write_head, write_large_run
from benchmarks._machine import describe_machine
from benchmarks._photographs import photographs, write_images
from benchmarks._towers import tower_folder
from clipsieve import Run, load_classifier, open_source, scan, score, write_demo_data
from clipsieve.encoders import EncoderChoice
from clipsieve.engines import LocalEngine, ScanOptions
from clipsieve.engines.ray import RayCluster, RayEncoder, RayEngine, Wanted, lay_out

OPTIONS = ScanOptions(part_size=1000)
OBJECT_STORE_BYTES = 512 * 1024**2
N_ROWS, PART_ROWS = 200_000, 10_000
BUSY_LOAD = 0.5

UNDER_WAY = (0.4, 0.9)  # of the images: before, all are still starting; after, some have nothing left to do


@dataclass(frozen=True)
class Case:
    """A model, the images that it gets, n of them, and how often all is measured."""

    name: str
    model: str
    contents: Sequence[bytes]
    n: int
    rounds: int


@dataclass(frozen=True)
class Pace:
    """How fast a scan went: images/s once it was under way, and the seconds of all of it."""

    rate: float
    whole_s: float


Scan = Callable[[Path, Path], Pace]


class Clock:
    """Notes when how many images were done."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seen: list[tuple[float, int]] = []

    def __call__(self, n_done: int, _n_all: int) -> None:
        """Note one report of a scan's progress."""
        self._seen.append((time.perf_counter(), n_done))

    def pace(self) -> Pace:
        """Return how fast it went, with the end of the scan taken as now."""
        n_all = self._seen[-1][1]
        (begun, n_begun), (ended, n_ended) = (
            next(pair for pair in self._seen if pair[1] >= x * n_all) for x in UNDER_WAY
        )
        return Pace((n_ended - n_begun) / (ended - begun), time.perf_counter() - self._start)


def scan_here(model: str) -> Scan:
    """Return a function that times a scan on one machine, loading the model included."""

    def go(images: Path, run: Path) -> Pace:
        clock = Clock()
        with EncoderChoice(model).load() as encoder:
            report = scan(open_source(images), run, encoder, options=OPTIONS, engine=LocalEngine(), on_progress=clock)
        assert report.n_failed == 0
        return clock.pace()

    return go


def scan_there(model: str, cluster: RayCluster) -> Scan:
    """Return a function that times a scan on a cluster that is there."""

    def go(images: Path, run: Path) -> Pace:
        clock = Clock()
        layout = lay_out(cluster.nodes, Wanted(), on_gpu=False)
        with RayEncoder(EncoderChoice(model, device="cpu", threads=layout.threads), layout) as encoder:
            engine = RayEngine(cluster)
            report = scan(open_source(images), run, encoder, options=OPTIONS, engine=engine, on_progress=clock)
        assert report.n_failed == 0
        return clock.pace()

    return go


@contextmanager
def machines(cores: Sequence[set[int]]) -> Iterator[RayCluster]:
    """Start a node for each set of cores, whose processes keep to them, as this one to those of the first; yield a connection."""
    from ray.cluster_utils import Cluster

    allowed = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as scratch, ExitStack() as stack:
        os.environ["RAY_TMPDIR"] = scratch  # nobody else's cluster, and nobody finds this one
        stack.callback(os.environ.pop, "RAY_TMPDIR")
        stack.callback(os.sched_setaffinity, 0, allowed)
        cluster = Cluster()
        stack.callback(cluster.shutdown)
        for own in cores:
            first = {} if cluster.head_node else {"include_dashboard": False}
            os.sched_setaffinity(0, own)
            cluster.add_node(num_cpus=len(own), object_store_memory=OBJECT_STORE_BYTES, **first)
        os.sched_setaffinity(0, cores[0])
        yield stack.enter_context(RayCluster(cluster.address))


def scan_on(model: str, cores: Sequence[int]) -> Scan:
    """Return a function that times a scan on a node for each core, started for it; their start is not counted."""

    def go(images: Path, run: Path) -> Pace:
        with machines([{core} for core in cores]) as cluster:
            return scan_there(model, cluster)(images, run)

    return go


def pictures(scratch: Path) -> list[bytes]:
    """Return the small pictures of the demonstration, without its broken files."""
    write_demo_data(scratch)
    return [path.read_bytes() for path in sorted(scratch.rglob("pictogram_*.*"))]


def compare(case: Case, scratch: Path, sides: dict[str, Scan]) -> list[list[Pace]]:
    """Return how fast each side went, measured in turn."""
    images = write_images(scratch / "images", case.contents, case.n)
    found: list[list[Pace]] = [[] for _ in sides]
    for number in range(case.rounds):
        for (name, go), paces in zip(sides.items(), found, strict=True):
            paces.append(go(images, scratch / f"{name} {number}"))
    return found


def row(case: Case, one: list[Pace], other: list[Pace]) -> str:
    """Return a line of a table: medians, and the median of each round's own ratio."""
    rates = [float(np.median([pace.rate for pace in side])) for side in (one, other)]
    whole = [float(np.median([pace.whole_s for pace in side])) for side in (one, other)]
    ratio = float(np.median([b.rate / a.rate for a, b in zip(one, other, strict=True)]))
    cells = [f"{case.n:,} {case.name}", f"{rates[0]:,.1f}", f"{rates[1]:,.1f}", f"{ratio:.2f}"]
    return f"| {' | '.join([*cells, *(f'{seconds:.1f}' for seconds in whole)])} |"


def score_rows(cluster: RayCluster, scratch: Path, rounds: int) -> str:
    """Return a line of a table: `score` on both engines, in turn."""
    scratch.mkdir()
    run = write_large_run(scratch / "large", PART_ROWS, N_ROWS, stored=unit_vectors(20_000, 0).astype(np.float16))
    write_head(scratch / "head.safetensors")
    head = load_classifier(scratch / "head.safetensors")
    pairs = []
    for number in range(rounds):
        pair = []
        for name, engine in (("local", LocalEngine()), ("ray", RayEngine(cluster))):
            start = time.perf_counter()
            score(Run.open(run.path), head, name=f"{name}{number}", engine=engine)
            pair.append(N_ROWS / (time.perf_counter() - start))
        pairs.append(pair)
    local, there = (float(np.median(side)) for side in zip(*pairs, strict=True))
    return f"| {N_ROWS:,} rows of {PART_ROWS:,} | {local:,.0f} | {there:,.0f} | {there / local:.2f} |"


def head_of(first: str, second: str, unit: str) -> str:
    """Return the head of a table."""
    heads = (unit, first, second, f"{second} / {first}", f"all, {first}, s", f"all, {second}, s")
    return f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|"


def main(*, full: bool = False) -> None:
    """Measure and print the tables; the full ones take photographs and a second machine too: 25 minutes."""
    print(describe_machine())
    if os.getloadavg()[0] > BUSY_LOAD:
        print(f"the machine was busy: a load of {os.getloadavg()[0]:.1f} before anything was measured")
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        small = pictures(scratch / "pictures")
        n, rounds = (24_000, 2) if full else (10_000, 1)
        cases = [Case("small pictures, embedded model", "pictogram", small, n, rounds)]
        if full:
            tower = str(tower_folder("ViT-B/32") / "onnx")
            cases.append(Case("photographs, ViT-B/32", tower, photographs(), 1000, 3))
        with machines([set(cores)]) as cluster:
            print(head_of("local", "Ray", "images/s, 2 cores"))
            for number, case in enumerate(cases):
                sides = {"local": scan_here(case.model), "ray": scan_there(case.model, cluster)}
                print(row(case, *compare(case, scratch / f"{number}", sides)), flush=True)
            print("\n| `score`, rows/s | local | Ray | ratio |\n|---|---|---|---|")
            print(score_rows(cluster, scratch / "score", 3), flush=True)
        if not full:
            return
        print(head_of("1 node", "2 nodes", "images/s, a core for each node"))
        for number, case in enumerate(cases):
            sides = {f"{n_nodes} nodes": scan_on(case.model, cores[:n_nodes]) for n_nodes in (1, 2)}
            print(row(case, *compare(case, scratch / f"{number} nodes", sides)), flush=True)


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
