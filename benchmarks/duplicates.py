"""How long near-duplicates of a whole run take to find, and how many the index overlooks.

The embeddings are drawn: scenes of 64 images about one centre, their cosines about 0.6, and a near-duplicate (cosine 0.97 or
more) of every tenth image somewhere else in the run. So it is known which pairs there are. The peer compares each image with
every leader, as an index without cells does.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._large_run import DIM, N_ROWS, write_large_run
from benchmarks._machine import describe_machine
from clipsieve import Run, find_duplicates
from clipsieve.engines import duplicates as module

N_SMALL = 40_000
SCENE, COPY_OF = 64, 10
SPREAD, NOISE = 0.8, 0.2  # length of what is added to a centre, and to a copy


def draw(n: int, block: int, seed: int = 0) -> np.ndarray:
    """Return n float16 rows; row i of the copies, the last tenth, is a near-duplicate of row `COPY_OF * i`."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n, DIM), dtype=np.float16)
    n_first = n * COPY_OF // (COPY_OF + 1)
    for start in range(0, n_first, block):
        stop = min(start + block, n_first)
        centres = rng.standard_normal((-(-(stop - start) // SCENE), DIM), dtype=np.float32)
        noise = rng.standard_normal((stop - start, DIM), dtype=np.float32)
        rows[start:stop] = _unit(centres[rng.integers(0, len(centres), stop - start)] + SPREAD * noise)
    for start in range(n_first, n, block):
        stop = min(start + block, n)
        originals = rows[(np.arange(start, stop) - n_first) * COPY_OF].astype(np.float32)
        noise = rng.standard_normal((stop - start, DIM), dtype=np.float32) * np.float32(NOISE / DIM**0.5)
        rows[start:stop] = _unit(originals + noise)
    return rows


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def measure(run: Run, n_copies: int, flat_up_to: int) -> tuple[float, float, float]:
    """Return seconds, which share of the copies joined a leader, and what the command itself says of that share."""
    before, module.FLAT_UP_TO = module.FLAT_UP_TO, flat_up_to
    try:
        start = time.perf_counter()
        found = find_duplicates(run)
        elapsed_s = time.perf_counter() - start
    finally:
        module.FLAT_UP_TO = before
    rows = np.arange(len(found.leader))
    copies = rows[-n_copies:]
    copies = copies[found.leader[copies] >= 0]
    return elapsed_s, float((found.leader[copies] != copies).mean()), found.n_found / max(found.n_checked, 1)


def main(*, full: bool = False) -> None:
    """Measure 40,000 images both ways, or as many as ImageNet has through the index alone: some minutes."""
    print(describe_machine())
    n = N_ROWS if full else N_SMALL
    n_copies = n - n * COPY_OF // (COPY_OF + 1)
    print(f"\n| {n:,} x {DIM} | s | ratio | copies found | it says |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        run = write_large_run(Path(folder) / "run", 20_000, n, stored=draw(n, 20_000))
        ways = {"an index with cells": 0} | ({} if full else {"every leader": n})
        base = None
        for way, flat_up_to in ways.items():
            elapsed_s, share, said = measure(run, n_copies, flat_up_to)
            base = base or elapsed_s
            print(f"| {way} | {elapsed_s:.1f} | {elapsed_s / base:.1f} | {share:.1%} | {said:.1%} |", flush=True)
    print(f"\npeak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB, the drawn embeddings among it")


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
