"""What comes after a scan, at the size of ImageNet: how long 1,281,167 x 768 stored embeddings take to be worked with.

float16 numbers in Parquet parts of 20,000 rows, as clipsieve writes them, on a disk whose pages are cached; 20,000 random ones
again and again, since no figure here depends on what they are. There are two measures, both with two threads: reading all bytes
of the parts in large blocks, and reading the column with pyarrow; `ratio` is to the second. The `embedding-reader` library,
where it is installed, reads the same numbers from `.npy` files and scores them with numpy; it writes nothing, while clipsieve
writes ids, probabilities and logits. The text tower of a search is not part of its time. Each way runs in a process of its own,
in turn; what is imported is imported before the clock starts.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._large_run import DIM, N_ROWS, unit_vectors, write_head, write_large_run
from benchmarks._machine import describe_machine

REPEATS = 3
PART_SIZE, N_ARRAYS = 20_000, 64

BYTES = """
from concurrent.futures import ThreadPoolExecutor
def one(path):
    block, n = bytearray(4 * 2**20), 0
    with open(path, "rb", buffering=0) as file:
        while got := file.readinto(block):
            n += got
    return n
def work():
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, sorted((folder / "run/images").iterdir())))
"""

READ = """
from concurrent.futures import ThreadPoolExecutor
import pyarrow.parquet as pq
def one(path):
    with pq.ParquetFile(path, memory_map=True) as file:
        return file.read(columns=["embedding"], use_threads=False).num_rows
def work():
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, sorted((folder / "run/images").iterdir())))
"""

THEIRS = """
import numpy as np
from embedding_reader import EmbeddingReader
from safetensors.numpy import load_file
def work():
    vectors = next(iter(load_file(folder / "head.safetensors").values())).astype(np.float32)
    reader = EmbeddingReader(embeddings_folder=str(folder / "arrays"), file_format="npy")
    n = 0
    for rows, _ in reader(batch_size=20_000, show_progress=False):
        logits = 100 * (rows.astype(np.float32) @ vectors.T)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        n += len(shares / shares.sum(axis=1, keepdims=True))
    return n
"""

SCORE = """
import clipsieve
from clipsieve.engines import load_classifier_for
def work():
    run = clipsieve.Run.open(folder / "run")
    named = load_classifier_for(run, str(folder / "head.safetensors"))
    return clipsieve.score(run, named.classifier, name="head").n_scored
"""

SEARCH = """
import numpy as np
import clipsieve
from clipsieve.engines.search import nearest_images
def work():
    run = clipsieve.Run.open(folder / "run")
    return len(nearest_images(run, np.load(folder / "words.npy"), 20)[0])
"""

SUMMARY = """
import clipsieve
from clipsieve.outputs import summarize
def work():
    return summarize(clipsieve.Run.open(folder / "run"), "head").n_scanned
"""

DECIDE = """
import clipsieve
from clipsieve.engines import Decider
def work():
    return sum(len(part.codes) for part in Decider(clipsieve.Run.open(folder / "run")).parts([]))
"""

ALL_BYTES, COLUMN = "reading the bytes of the parts", "reading the column with pyarrow"
WAYS = {
    ALL_BYTES: BYTES,
    COLUMN: READ,
    "embedding-reader and numpy, nothing written": THEIRS,
    "`clipsieve score`": SCORE,
    "`clipsieve search`, the 20 best": SEARCH,
    "`clipsieve summary`, of another threshold": SUMMARY,
    "a decision for each image, by another threshold": DECIDE,
}

FRAME = """
import resource, sys, time
import onnxruntime
from pathlib import Path
folder = Path(sys.argv[1])
{code}
start, before = time.perf_counter(), time.process_time()
n = work()
wall, cpu = time.perf_counter() - start, time.process_time() - before
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(n, wall, cpu, int(peak) / 1024)
"""


def measure(code: str, folder: Path) -> tuple[float, float, float]:
    """Return seconds, seconds of all cores together, and the peak of the memory in MiB, of a process of its own."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", FRAME.format(code=code), str(folder)], capture_output=True, text=True, check=True
    )
    n, wall, cpu, peak = map(float, done.stdout.split()[-4:])
    assert n > 0
    return wall, cpu, peak


def prepare(folder: Path) -> None:
    """Write the run, the classifier, the vector to look for, and the arrays for the other side: links to one of them."""
    write_large_run(folder / "run", PART_SIZE)
    write_head(folder / "head.safetensors")
    np.save(folder / "words.npy", unit_vectors(1, seed=2))
    (folder / "arrays").mkdir()
    np.save(folder / "arrays/img_emb_0.npy", unit_vectors(N_ROWS // N_ARRAYS, seed=0).astype(np.float16))
    for number in range(1, N_ARRAYS):
        os.link(folder / "arrays/img_emb_0.npy", folder / f"arrays/img_emb_{number}.npy")


def table(found: dict[str, list[tuple[float, float, float]]]) -> None:
    """Print the medians, and the ratios to both measures."""
    print(f"\n{N_ROWS:,} x {DIM} float16, {N_ROWS * DIM * 2 / 2**20:,.0f} MiB:\n")
    print(f"| | s (median of {REPEATS}) | ratio | ratio to the bytes | CPU s | peak MiB |\n|---|---|---|---|---|---|")
    medians = {way: np.median(rows, axis=0) for way, rows in found.items()}
    for way, (wall, cpu, peak) in medians.items():
        ratios = f"{wall / medians[COLUMN][0]:.2f} | {wall / medians[ALL_BYTES][0]:.2f}"
        print(f"| {way} | {wall:.1f} | {ratios} | {cpu:.1f} | {peak:,.0f} |")


def main() -> None:
    """Measure and print the table."""
    ways = {name: code for name, code in WAYS.items() if code != THEIRS or importlib.util.find_spec("embedding_reader")}
    print(describe_machine())
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        prepare(Path(name))
        print(f"writing the run: {time.perf_counter() - start:.0f} s")
        for _ in range(REPEATS):
            for way, code in ways.items():
                found[way].append(measure(code, Path(name)))
    table(found)


if __name__ == "__main__":
    main()
