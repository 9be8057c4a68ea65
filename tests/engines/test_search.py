"""The images of a run that are nearest to some words, against comparing everything."""

import numpy as np
import pytest

from clipsieve.engines.search import nearest_images
from clipsieve.errors import EmbeddingError, RunCorruptError
from clipsieve.store import to_float32
from scored_runs import DIM, write_scored_run

N = 700


@pytest.fixture
def run(tmp_path):
    """Return a run in which every seventh image failed, and whole parts hold failures alone."""
    probability = [None if i % 7 == 0 or 200 <= i < 300 else 0.5 for i in range(N)]
    return write_scored_run(tmp_path / "run", probability, threshold=0.5, part_size=50)


def unit(seed, n=3):
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 20, N])
def test_what_is_found_is_what_comparing_everything_finds(run, k):
    rows, stored = [], []
    for part, table in enumerate(run.iter_images(["embedding"])):
        rows.append(50 * part + np.flatnonzero(table.column("embedding").is_valid().to_numpy()))
        stored.append(to_float32(table.column("embedding")))
    rows, stored = np.concatenate(rows), np.concatenate(stored)
    vectors = unit(9)
    for found, vector in zip(nearest_images(run, vectors, k), vectors, strict=True):
        cosines = stored.astype(np.float64) @ vector
        order = np.argsort(-cosines, kind="stable")[:k]
        assert len(found) == min(k, len(rows))
        np.testing.assert_allclose([image.similarity for image in found], cosines[order], atol=1e-6)
        assert {image.row for image in found} == set(rows[order].tolist())
        assert all(image.image_id == f"{image.row:04d}.png" and image.image_id in image.uri for image in found)


def test_of_equal_images_the_first_comes_first(run):
    table = run.read_images(1)
    for part in (5, 9, 3):
        run.write_part(run.image_part(part), table)  # rows 51 ... of the run, once more
    vector = to_float32(table.column("embedding"))[:1]
    found = nearest_images(run, vector, 4)[0]
    assert [image.row for image in found] == [50, 150, 250, 450]
    assert len({image.similarity for image in found}) == 1


def test_vectors_of_another_width_are_refused(run):
    with pytest.raises(EmbeddingError, match="no embedding of this run"):
        nearest_images(run, np.ones((1, DIM + 1), np.float32), 3)


def test_a_missing_part_is_named(run):
    run.image_part(3).unlink()
    with pytest.raises(RunCorruptError, match="part-00003"):
        nearest_images(run, unit(1), 3)
