"""How soon a run of a million images is open for review, how long a search in it takes, and in how much memory.

1,000,000 images with ids, hashes, captions, classes and scores, in parts of 20,000 and of 1,000, and embeddings 512 wide, on a
disk whose pages are cached. A process of its own opens the run, reads its embeddings and searches 20 times. Beside it stand the
same searches as people write them with numpy, in float32, and with faiss where that is installed; these read the embeddings from
the same parts. Without `--full`, it is a fifth of the images, in parts of 20,000 alone.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks._machine import describe_machine
from clipsieve.store import Run, RunManifest, score_table
from clipsieve.store.layout import image_schema
from clipsieve.types import EncoderIdentity

N_ROWS, DIM, N_SEARCHES = 1_000_000, 512, 20
PART_SIZES = (20_000, 1000)
IDENTITY = EncoderIdentity("random", "ab" * 32, None, "fp32", DIM)

COMMON = """
import json, sys, time
import numpy as np
from clipsieve.store import Run, to_float32
queries = np.random.default_rng(9).standard_normal((int(sys.argv[2]), int(sys.argv[3]))).astype(np.float32)
queries /= np.linalg.norm(queries, axis=1, keepdims=True)
run, start = Run.open(sys.argv[1]), time.perf_counter()
def lap():
    global start
    before, start = start, time.perf_counter()
    return start - before
"""
OURS = """
from clipsieve.review.catalog import Catalog
from clipsieve.review.vectors import VectorIndex
lap()
catalog = Catalog.open(run); opened = lap()
catalog.row_of(catalog.image_id(7)); names = lap()
index = VectorIndex.build(run); built = lap()
search = lambda query: index.nearest(query, 50)[0]
"""
NUMPY = """
opened, names = None, None
rows = np.concatenate([to_float32(part.column("embedding")) for part in run.iter_images(["embedding"])]); built = lap()
search = lambda query: np.argsort(-(rows @ query))[:50]
"""
FAISS = """
import faiss
opened, names = None, None
index = faiss.IndexScalarQuantizer(queries.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
for number, part in enumerate(run.iter_images(["embedding"])):
    rows = to_float32(part.column("embedding"))
    if number == 0:
        index.train(rows)
    index.add(rows)
built = lap()
search = lambda query: index.search(query[None], 50)[1][0]
"""
FINISH = """
search(queries[0]); lap()
found, times = [], []
for query in queries:
    found.append([int(row) for row in search(query)]); times.append(lap())
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(json.dumps([opened, names, built, *np.percentile(times, [50, 95]), int(peak) / 1024, found]))
"""


def write_run(path: Path, n_rows: int, part_size: int) -> None:
    """Write a run of random unit vectors with scores."""
    n_parts = -(-n_rows // part_size)
    run = Run.create(path, RunManifest("folder", "/photos", part_size, n_rows, n_parts, 0, IDENTITY, "random", {}, "0"))
    for index in range(n_parts):
        first = index * part_size
        _write_part(run, index, range(first, min(first + part_size, n_rows)))
    facts = {"method": "zero-shot", "class_names": ["good", "bad"], "unwanted": [False, True], "threshold": 0.9}
    run.write_score_facts("test", facts | {"remove_threshold": None, "calibration": None})


def _write_part(run: Run, index: int, numbers: range) -> None:
    rng, n = np.random.default_rng(index), len(numbers)
    rows = rng.standard_normal((n, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    columns = {
        "image_id": [f"photos/{i // 1000:04d}/{i:07d}.jpg" for i in numbers],
        "uri": [f"file:///data/photos/{i // 1000:04d}/{i:07d}.jpg" for i in numbers],
        "sha256": [rng.bytes(32).hex() for _ in numbers],
        "label": [f"class {i % 100}" for i in numbers],
        "caption": [f"a picture of thing {i} on a table beside another thing, taken in the evening" for i in numbers],
    }
    facts = {"encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint, "inputs": str(index)}
    schema = image_schema(DIM).with_metadata({f"clipsieve.{key}": value for key, value in facts.items()})
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in schema]
    arrays[schema.get_field_index("embedding")] = pa.FixedSizeListArray.from_arrays(
        pa.array(rows.astype(np.float16).reshape(-1)), type=schema.field("embedding").type
    )
    run.write_part(run.image_part(index), pa.Table.from_arrays(arrays, schema=schema))
    probability = rng.random(n, dtype=np.float32)
    scores = score_table(
        arrays[0], np.ones(n, bool), probability, np.stack([1 - probability, probability], 1), inputs=str(index)
    )
    run.write_part(run.score_part("test", index), scores)


def measure(code: str, path: Path) -> tuple[list[float | None], list[list[int]]] | None:
    """Return seconds, the peak of the memory in MiB, and what was found, by a process of its own; None if it cannot run."""
    command = [sys.executable, "-c", COMMON + code + FINISH, str(path), str(N_SEARCHES), str(DIM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        if "No module named 'faiss'" in done.stderr:
            return None
        raise RuntimeError(done.stderr)
    *figures, found = json.loads(done.stdout)
    return figures, found


def main(*, full: bool = False) -> None:
    """Measure and print the table."""
    n_rows = N_ROWS if full else N_ROWS // 5
    print(describe_machine())
    print(
        f"\n| {n_rows:,} x {DIM}, 50 nearest | open, s | first id, s | index, s | search p50, ms | p95, ms | peak MiB | same |"
    )
    print("|---" * 8 + "|")
    for part_size in PART_SIZES[: None if full else 1]:
        with tempfile.TemporaryDirectory() as name:
            write_run(Path(name) / "run", n_rows, part_size)
            ways = {"clipsieve": OURS, "numpy, float32": NUMPY, "faiss, 8 bits": FAISS}
            found = {way: measure(code, Path(name) / "run") for way, code in ways.items()}
        exact = found["numpy, float32"]
        for way, result in found.items():
            if result is None or exact is None:
                print(f"| {way}, not installed |" + " |" * 7)
                continue
            seconds = [f"{value:.2f}" if value is not None else "" for value in result[0][:3]]
            ms = [f"{1000 * (value or 0):.0f}" for value in result[0][3:5]]
            same = np.mean([len(set(a) & set(b)) / 50 for a, b in zip(result[1], exact[1], strict=True)])
            cells = [*seconds, *ms, f"{result[0][5]:,.0f}", f"{same:.1%}"]
            print(f"| {way}, parts of {part_size:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
