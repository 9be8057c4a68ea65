"""Near-duplicates in a whole run, against comparing every pair."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.engines import duplicates as module
from clipsieve.engines import find_duplicates
from clipsieve.errors import UsageError
from clipsieve.outputs import duplicates_table, write_duplicates
from clipsieve.store import Run, RunManifest, image_table
from clipsieve.types import (
    EmbeddedImage,
    EncoderIdentity,
    FailedImage,
    Failure,
    FailureCode,
    FailureStep,
    FileFacts,
    ImageRef,
)

DIM = 32
IDENTITY = EncoderIdentity("tiny", "ab" * 32, None, "fp32", DIM)


def write_run(path: Path, embeddings: list[np.ndarray | None], part_size: int = 100) -> Run:
    """Write a run of these embeddings; None stands for a failure."""
    cuts = range(0, len(embeddings), part_size)
    run = Run.create(
        path, RunManifest("folder", "/p", part_size, len(embeddings), len(cuts), 0, IDENTITY, "tiny", {}, "0")
    )
    for index, start in enumerate(cuts):
        rows = []
        for number, row in enumerate(embeddings[start : start + part_size], start):
            ref = ImageRef(f"{number:05d}.png", f"file:///{number:05d}.png", None, None, b"")
            facts = FileFacts(f"{number:064x}", 1, 1, 1, "PNG")
            failure = Failure(FailureStep.DECODE, FailureCode.CORRUPT, "so drawn")
            rows.append(FailedImage(ref, facts, failure) if row is None else EmbeddedImage(ref, facts, row))
        facts = {"inputs": f"{index}", "encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint}
        run.write_part(run.image_part(index), image_table(rows, DIM, **facts))
    return run


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(n: int, n_copies: int, noise: float, seed: int = 0) -> np.ndarray:
    """Return n unlike rows and near-duplicates of some of them, mixed."""
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(n, DIM)))
    copies = unit(rows[rng.integers(0, n, n_copies)] + noise * rng.normal(size=(n_copies, DIM)) / DIM**0.5)
    return np.concatenate([rows, copies])[rng.permutation(n + n_copies)]


def by_hand(rows: np.ndarray, min_similarity: float) -> np.ndarray:
    """Return each row's leader by the definition, one row after the other."""
    leaders: list[int] = []
    found = np.arange(len(rows))
    for number, row in enumerate(rows):
        cosines = rows[leaders] @ row
        if leaders and cosines.max() >= min_similarity:
            found[number] = leaders[int(cosines.argmax())]
        else:
            leaders.append(number)
    return found


@pytest.mark.parametrize("part_size", [90, 1000, 5000])
def test_each_image_joins_the_most_similar_leader(tmp_path, part_size):
    rows = planted(1500, 1200, 0.15)
    found = find_duplicates(write_run(tmp_path / "run", list(rows), part_size), min_similarity=0.97)
    stored = unit(rows.astype(np.float16).astype(np.float32))
    expected = by_hand(stored, 0.97)
    assert (expected != np.arange(len(rows))).sum() > 500
    np.testing.assert_array_equal(found.leader, expected)
    np.testing.assert_allclose(found.similarity, (stored * stored[expected]).sum(axis=1), atol=1e-4)
    assert found.n_checked == found.n_found == 0


def test_the_index_of_cells_finds_nearly_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLAT_UP_TO", 100)
    rows = planted(6000, 2000, 0.15, seed=1)
    run = write_run(tmp_path / "run", list(rows), 1000)
    found = find_duplicates(run, min_similarity=0.95)
    expected = by_hand(unit(rows.astype(np.float16).astype(np.float32)), 0.95)
    should = expected != np.arange(len(rows))
    joined = found.leader != np.arange(len(rows))
    assert should.sum() > 1000
    assert (joined & should).sum() >= 0.97 * should.sum()
    assert found.n_checked > 100
    assert abs(found.n_found / found.n_checked - (joined & should).sum() / should.sum()) < 0.03
    again = find_duplicates(run, min_similarity=0.95)
    np.testing.assert_array_equal(found.leader, again.leader)


def test_an_index_that_overlooks_much_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLAT_UP_TO", 100)
    monkeypatch.setattr(module, "N_PROBES", 1)
    monkeypatch.setattr(module, "ROWS_PER_CELL", 20)
    rows = planted(3000, 1500, 0.3, seed=2)  # far from their leaders: often in another cell
    found = find_duplicates(write_run(tmp_path / "run", list(rows), 1000), min_similarity=0.93)
    assert 0.3 < found.n_found / found.n_checked < 0.97


def test_the_same_picture_many_times_is_one_group(tmp_path):
    rows = planted(300, 0, 0)
    many = [rows[0]] * 3000 + list(rows[1:])
    found = find_duplicates(write_run(tmp_path / "run", many, 1000))
    groups = found.groups()
    assert [len(group) for group in groups] == [3000]
    np.testing.assert_array_equal(groups[0], np.arange(3000))


def test_copies_are_found_at_the_highest_similarity(tmp_path):
    rows = planted(300, 0, 0, seed=3)
    found = find_duplicates(write_run(tmp_path / "run", [*rows, *rows], 100), min_similarity=1)
    assert [len(group) for group in found.groups()] == [2] * 300


def test_a_long_list_of_dead_links_with_few_images_needs_no_index(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLAT_UP_TO", 100)
    rows = planted(10, 10, 0.01, seed=4)
    found = find_duplicates(write_run(tmp_path / "run", [None] * 200 + list(rows), 100))
    assert sum(map(len, found.groups())) > 10
    assert find_duplicates(write_run(tmp_path / "none", [None] * 200, 100)).groups() == []


def test_failures_are_in_no_group(tmp_path):
    rows = planted(4, 0, 0)
    found = find_duplicates(write_run(tmp_path / "run", [None, rows[0], None, rows[0], rows[1]], 2))
    np.testing.assert_array_equal(found.leader, [-1, 1, -1, 1, 4])
    assert np.isnan(found.similarity[[0, 2]]).all()


def test_a_run_of_failures_alone_has_none(tmp_path):
    found = find_duplicates(write_run(tmp_path / "run", [None] * 5, 2))
    assert found.groups() == []
    assert duplicates_table(write_run(tmp_path / "other", [None] * 5, 2), found).num_rows == 0


@pytest.mark.parametrize("similarity", [0.0, 1.01, float("nan")])
def test_a_similarity_out_of_range_is_refused(tmp_path, similarity):
    with pytest.raises(UsageError, match="similar"):
        find_duplicates(write_run(tmp_path / "run", [None], 2), min_similarity=similarity)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_table_names_every_image_of_a_group(tmp_path, suffix):
    rows = planted(5, 0, 0)
    run = write_run(tmp_path / "run", [rows[3], rows[0], rows[1], rows[0], rows[1], rows[1]], 2)
    path = tmp_path / f"groups{suffix}"
    assert write_duplicates(run, find_duplicates(run), path) == 5
    table = pq.read_table(path) if suffix == ".parquet" else pa.csv.read_csv(path)
    ids = [f"{number:05d}.png" for number in (2, 4, 5, 1, 3)]
    assert table.column("image_id").to_pylist() == ids
    assert table.column("uri").to_pylist() == [f"file:///{name}" for name in ids]
    assert table.column("group").to_pylist() == [0, 0, 0, 1, 1]
    assert table.column("is_leader").to_pylist() == [True, False, False, True, False]
    np.testing.assert_allclose(table.column("similarity").to_numpy(), 1, atol=1e-4)


def test_the_table_may_be_of_the_largest_groups_alone(tmp_path):
    rows = planted(5, 0, 0)
    run = write_run(tmp_path / "run", [rows[3], rows[0], rows[1], rows[0], rows[1], rows[1]], 2)
    table = duplicates_table(run, find_duplicates(run), max_groups=1)
    assert table.column("image_id").to_pylist() == ["00002.png", "00004.png", "00005.png"]


def test_another_suffix_is_refused(tmp_path):
    run = write_run(tmp_path / "run", [None], 2)
    with pytest.raises(UsageError, match=r"\.parquet or \.csv"):
        write_duplicates(run, find_duplicates(run), tmp_path / "groups.txt")
