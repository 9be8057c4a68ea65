"""How long a million embeddings that lie somewhere already take to be scored, and how much memory that needs.

1,000,000 x 512 float16 numbers with URLs and captions, in the layout of clip-retrieval, on a disk whose pages are cached. The
other side reads the same folder with the `embedding-reader` library and scores it with numpy; it writes nothing, while clipsieve
writes ids, probabilities and logits to Parquet. Each side runs in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._machine import describe_machine
from clipsieve.classifiers import SoftPrompts, save_classifier

REPEATS = 3
N_ROWS, DIM, N_FILES = 1_000_000, 512, 4

OURS = """
import sys, clipsieve
from clipsieve.engines import load_classifier_for
run = clipsieve.Run.open(sys.argv[1] + "/run")
named = load_classifier_for(run, sys.argv[1] + "/head.safetensors")
print(clipsieve.score(run, named.classifier, name="head").n_scored)
"""

THEIRS = """
import sys
import numpy as np
from embedding_reader import EmbeddingReader
from safetensors.numpy import load_file
vectors = next(iter(load_file(sys.argv[1] + "/head.safetensors").values())).astype(np.float32)
reader = EmbeddingReader(embeddings_folder=sys.argv[1] + "/laion/img_emb", file_format="npy")
n = 0
for rows, _ in reader(batch_size=20_000, show_progress=False):
    logits = 100 * (rows.astype(np.float32) @ vectors.T)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    n += len(shares / shares.sum(axis=1, keepdims=True))
print(n)
"""


def write_embeddings(folder: Path) -> None:
    """Write random unit vectors, with what is known of their images."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    rng, each = np.random.default_rng(0), N_ROWS // N_FILES
    for number in range(N_FILES):
        rows = rng.standard_normal((each, DIM), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", rows.astype(np.float16))
        ids = range(number * each, (number + 1) * each)
        columns = {"url": [f"https://example.org/{i}.jpg" for i in ids], "caption": [f"picture {i}" for i in ids]}
        pq.write_table(pa.table(columns), folder / "metadata" / f"metadata_{number}.parquet")


def write_head(path: Path) -> None:
    """Write a classifier of two random classes."""
    vectors = np.random.default_rng(1).standard_normal((2, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    save_classifier(SoftPrompts(vectors, ("wanted", "unwanted"), (False, True), "some/model"), path)


def measure(code: str, folder: Path) -> tuple[float, float]:
    """Return seconds and the peak of the memory in MiB, of a process of its own."""
    tail = '\nprint(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])'
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code + tail, str(folder)], capture_output=True, text=True, check=True
    )
    n_rows, peak_kib = done.stdout.split()[-2:]
    assert int(n_rows) == N_ROWS
    return time.perf_counter() - start, int(peak_kib) / 1024


def main() -> None:
    """Measure and print the table."""
    from clipsieve import adopt_embeddings

    print(describe_machine())
    found: dict[str, list[tuple[float, float]]] = {"embedding-reader and numpy": [], "clipsieve score": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_embeddings(folder / "laion")
        write_head(folder / "head.safetensors")
        start = time.perf_counter()
        adopt_embeddings(folder / "laion", folder / "run", model="some/model")
        print(f"taking them in: {time.perf_counter() - start:.1f} s")
        for _ in range(REPEATS):
            for way, code in zip(found, (THEIRS, OURS), strict=True):
                found[way].append(measure(code, folder))
        n_bytes = json.dumps(sum(path.stat().st_size for path in (folder / "laion/img_emb").iterdir()))
    print(
        f"\n| {N_ROWS:,} x {DIM} float16, {int(n_bytes) / 2**20:,.0f} MiB | s (median of {REPEATS}) | ratio | peak MiB |"
    )
    print("|---|---|---|---|")
    base = float(np.median([s for s, _ in found["embedding-reader and numpy"]]))
    for way, pairs in found.items():
        seconds, peak = np.median(pairs, axis=0)
        print(f"| {way} | {seconds:.1f} | {seconds / base:.2f} | {peak:,.0f} |")


if __name__ == "__main__":
    main()
