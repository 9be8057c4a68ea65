"""What is made of a run by any engine, to be compared with what one process makes of it; and engines that make it hard."""

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from clipsieve.classifiers import SoftPrompts, builtin_taxonomy
from clipsieve.engines import LocalEngine, ScanOptions, adopt_embeddings, scan, score
from clipsieve.engines.concepts import ConceptVectors
from clipsieve.engines.search import nearest_images
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts
from clipsieve.outputs import ExportOptions, export_run
from clipsieve.outputs.report.build import build_report
from clipsieve.outputs.report.records import Report
from clipsieve.sources import open_source
from clipsieve.store import Run
from scored_runs import DIM, IDENTITY, write_scored_run, write_scores
from tiny_encoder import TinyEncoder

N = 90


class Twice(LocalEngine):
    """Does each piece of work twice at the same time, as a cluster does that has lost sight of a worker; all is pickled."""

    def map(self, work, items):
        def alone(packed: bytes) -> bytes:
            there, item = pickle.loads(packed)  # noqa: S301 - our own
            return pickle.dumps(there(item))

        with ThreadPoolExecutor(2) as pool:
            for item in items:
                packed = pickle.dumps((work, item))
                both = list(pool.map(alone, [packed, packed]))
                yield pickle.loads(both[1])  # noqa: S301


class Stopped(LocalEngine):
    """Is killed when `n` pieces of work are done."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._n = n

    def map(self, work: Callable, items: Iterable) -> Iterator:
        for number, item in enumerate(items):
            if number == self._n:
                raise KeyboardInterrupt
            yield work(item)


def unit_rows(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scored_run(path: Path) -> Run:
    """Return a run with failures, labels and captions, in 9 parts."""
    probability = [None if i % 11 == 0 else (i * 37 % 100) / 100 for i in range(N)]
    return write_scored_run(
        path,
        probability,
        threshold=0.6,
        remove_threshold=0.9,
        part_size=10,
        labels=[f"class {i % 5}" if i % 7 else None for i in range(N)],
        captions=[f"a picture number{i % 13} of thing{i % 3}" if i % 4 else None for i in range(N)],
    )


def scores_by(run: Run, engine: LocalEngine | None) -> dict[str, bytes]:
    """Score a run, and return the files of the scores."""
    head = SoftPrompts(unit_rows(2, 5), ("good", "bad"), (False, True), IDENTITY.name, IDENTITY.weights_sha256)
    found = score(run, head, name="head", engine=engine)
    assert found.n_scored == N - 9
    return {path.name: path.read_bytes() for path in sorted((run.path / "scores/head").iterdir())}


def found_by(run: Run, engine: LocalEngine | None) -> list[list[dict]]:
    """Return what is nearest to three vectors."""
    return [[asdict(image) for image in images] for images in nearest_images(run, unit_rows(3, 9), 12, engine=engine)]


def report_by(run: Run, engine: LocalEngine | None) -> Report:
    """Return a report with verdicts and with concepts."""
    said = {f"{i:04d}.png": ImageVerdict([True, False, None][i % 3], ("ann",), 1) for i in range(0, N, 6)}
    taxonomy = builtin_taxonomy()
    concepts = ConceptVectors(taxonomy, unit_rows(len(taxonomy.concepts), 3), 100.0)
    verdicts = ImageVerdicts(Path("v.csv"), "0" * 64, said)
    return build_report(run, made="2026-01-01", verdicts=verdicts, concepts=concepts, engine=engine)


def scored_source(source: Path, path: Path) -> Run:
    """Scan a source into parts of two, and give each image a probability that follows from its content."""
    scan(open_source(source), path, TinyEncoder(), options=ScanOptions(part_size=2), engine=LocalEngine(workers=1))
    return _with_scores(Run.open(path))


def adopted(folder: Path, path: Path) -> Run:
    """Return a run of embeddings that lie elsewhere, two arrays and one without rows."""
    (folder / "img_emb").mkdir(parents=True)
    for number, n in enumerate((5, 0, 4)):
        rows = np.random.default_rng(number).standard_normal((n, 8)).astype(np.float16)
        np.save(folder / f"img_emb/img_emb_{number}.npy", rows)
    adopt_embeddings(folder, path, model="somebody/a-model", part_size=2)
    return _with_scores(Run.open(path))


def _with_scores(run: Run) -> Run:
    for index, images in enumerate(run.iter_images()):
        keys = [f"{row['sha256'] or row['image_id']}" for row in images.select(["sha256", "image_id"]).to_pylist()]
        values = [int(hashlib.sha256(key.encode()).hexdigest()[:4], 16) / 0xFFFF for key in keys]
        write_scores(run, index, images, values)
    facts = {"method": "zero-shot", "class_names": ["good", "bad"], "unwanted": [False, True], "calibration": None}
    run.write_score_facts("test", facts | {"threshold": 0.4, "remove_threshold": 0.7})
    return run


def export_by(run: Run, out: Path, engine: LocalEngine | None) -> dict[str, object]:
    """Export into three places; return what was reported and, by name, the content of each file."""
    options = ExportOptions(review_to=str(out / "review"), remove_to=str(out / "remove"))
    report = asdict(export_run(run, out / "keep", options, engine=engine))
    counted = {name: report[name] for name in ("n_files", "n_bytes_written", "n_problems", "problems", "warnings")}
    return counted | {name: path.read_bytes() for name, path in files(out).items()}


def files(folder: Path) -> dict[str, Path]:
    """Return every file in a folder by its name there, hidden ones included."""
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return {str(path.relative_to(folder)): path for path in sorted(found)}
