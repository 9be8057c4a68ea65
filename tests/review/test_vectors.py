"""Search by embedding: exactly what comparing all rows in float64 finds, however near the others are."""

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsieve.classifiers.taxonomy import Taxonomy, TaxonomyConcept
from clipsieve.engines import adopt_embeddings
from clipsieve.engines.concepts import ConceptVectors
from clipsieve.errors import EmbeddingError, RunConflictError, RunCorruptError, RunError
from clipsieve.review import vectors
from clipsieve.review.duplicates import find_groups
from clipsieve.review.quantize import approximate, quantize
from clipsieve.review.scratch import ScratchRows
from clipsieve.review.vectors import VectorIndex
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


def write_run(path: Path, rows: np.ndarray, part_size: int = 40, failed: tuple[int, ...] = ()) -> Run:
    """Write a run of these embeddings, unscored."""
    dim, n_parts = rows.shape[1], -(-len(rows) // part_size)
    identity = EncoderIdentity("tiny", "ab" * 32, None, "fp32", dim)
    run = Run.create(path, RunManifest("folder", "/p", part_size, len(rows), n_parts, 0, identity, "tiny", {}, "0"))
    for index in range(n_parts):
        numbers = range(index * part_size, min((index + 1) * part_size, len(rows)))
        facts = {"inputs": "i", "encoder": identity.fingerprint, "options": run.manifest.options_fingerprint}
        images = [_image(number, rows[number], number in failed) for number in numbers]
        run.write_part(run.image_part(index), image_table(images, dim, **facts))
    return run


def _image(number: int, row: np.ndarray, is_failed: bool) -> EmbeddedImage | FailedImage:
    ref = ImageRef(str(number), f"file:///{number}", None, None, b"")
    if is_failed:
        return FailedImage(ref, None, Failure(FailureStep.DECODE, FailureCode.TRUNCATED, ""))
    return EmbeddedImage(ref, FileFacts("00" * 32, 1, 8, 8, "PNG"), row)


def draw(seed: int, n: int, dim: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain(stored: np.ndarray, query: np.ndarray, n: int, allowed: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Compare all rows in float64."""
    exact, q = stored.astype(np.float64), query.astype(np.float64)
    with np.errstate(invalid="ignore"):
        cosines = np.array([(row * q).sum() for row in exact]) / np.sqrt((exact**2).sum(axis=1)) / np.sqrt((q**2).sum())
    rows = np.flatnonzero(allowed)
    # Equal rows are to come in the order of the run; float64 itself rounds, so what is closer than that counts as equal.
    order = sorted(rows.tolist(), key=lambda row: (-round(float(cosines[row]), 13), row))[:n]
    return order, cosines[order]


def index_of(stored: np.ndarray, is_present: np.ndarray | None = None) -> VectorIndex:
    """Return an index of these rows as they are, without a run around them."""
    here = np.ones(len(stored), bool) if is_present is None else is_present
    index = VectorIndex(len(stored), stored.shape[1], ScratchRows(stored.shape[1], stored.dtype), None)
    index._add(0, stored[here], quantize(stored[here]), here, None)
    return index


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(1, 300),
    st.sampled_from([1, 2, 3, 16, 100]),
    st.integers(1, 40),
    st.sampled_from([0.0, 1e-4, 1e-3, 0.01, 1.0]),
    st.sampled_from([np.float16, np.float32]),
)
@example(0, 300, 16, 1, 0.0, np.float16)
def test_the_same_as_comparing_all(seed, n_rows, dim, n, spread, dtype):
    # With little spread all rows are near-ties, nearer to each other than a byte per number can tell.
    rng = np.random.default_rng(seed)
    centre = draw(seed, 1, dim)
    stored = ((centre + spread * draw(seed + 1, n_rows, dim)) * rng.uniform(0.1, 9, (n_rows, 1))).astype(dtype)
    query = (centre[0] + 0.1 * draw(seed + 2, 1, dim)[0]).astype(np.float32)
    allowed = (rng.random(n_rows) < 0.7) & stored.any(axis=1)
    index = index_of(stored)
    try:
        rows, cosines = index.nearest(query, n, allowed=allowed)
    finally:
        index.close()
    expected, exact = plain(stored, query, n, allowed)
    np.testing.assert_allclose(cosines, exact, atol=1e-7)
    assert (np.diff(cosines) <= 0).all()
    mine = plain(stored, query, n_rows, allowed)
    value = dict(zip(mine[0], mine[1], strict=True))
    np.testing.assert_allclose([value[row] for row in rows.tolist()], exact, rtol=0, atol=1e-13)
    assert len(set(rows.tolist())) == len(expected)


@settings(max_examples=100)
@given(
    st.integers(0, 10_000),
    st.integers(1, 200),
    st.sampled_from([1e-7, 1e-3, 1.0, 100.0]),
    st.sampled_from([0.01, 1, 5]),
    st.sampled_from([np.float16, np.float32]),
)
def test_no_cosine_is_further_off_than_its_bound(seed, dim, size, tail, dtype):
    rng = np.random.default_rng(seed)
    # Heavy tails leave most numbers of a row to a few of the 255 levels.
    rows = (rng.standard_normal((60, dim)) * np.exp(tail * rng.standard_normal((60, dim))) * size).astype(np.float64)
    rows = np.clip(rows, -6e4, 6e4).astype(dtype)
    found = quantize(rows)
    query = rng.standard_normal(dim)
    # The worst query for a row points along what quantizing left of it.
    worst = found.unit[0].astype(np.float64) - found.scale[0] * found.codes[0].astype(np.float64)
    for direction in (query, worst if np.abs(worst).sum() > 0 else query):
        q = direction / np.linalg.norm(direction)
        near = np.empty(60, dtype=np.float32)
        approximate(found.codes, found.scale, q.astype(np.float32), near)
        here = found.is_present
        exact = rows[here].astype(np.float64)
        cosines = exact @ q / np.sqrt((exact**2).sum(axis=1))
        assert (np.abs(near[here] - cosines) <= found.bound[here]).all()
        assert here.tolist() == [bool(row.any()) for row in rows]
        assert (near[~here] == 0).all()


def test_a_bound_is_small_where_it_matters():
    assert quantize(draw(0, 1000, 512)).bound.max() < 0.012


def test_what_has_no_direction_is_absent():
    rows = np.array([[0, 0], [np.nan, 1], [np.inf, 1], [1, 1], [6e-8, 0]], dtype=np.float16)
    found = quantize(rows)
    assert found.is_present.tolist() == [False, False, False, True, True]
    np.testing.assert_allclose(found.unit[3:], [[0.5**0.5, 0.5**0.5], [1, 0]], rtol=1e-6)
    tiny = quantize(np.array([[3e-42, 4e-42], [3e38, -3e38]], dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(tiny.unit, axis=1), 1, rtol=1e-3)


def test_equal_rows_come_in_the_order_of_the_run_in_blocks_of_any_size(monkeypatch):
    stored = np.tile(draw(3, 1, 24), (500, 1)).astype(np.float16)
    stored[::3] = draw(4, 167, 24)
    index = index_of(stored)
    for block in (1, 7, 4096):
        monkeypatch.setattr(vectors, "_EXACT_BLOCK", block)
        rows, cosines = index.nearest(stored[1].astype(np.float32), 50)
        assert rows.tolist() == [row for row in range(500) if row % 3][:50]
        np.testing.assert_allclose(cosines, 1, atol=1e-6)
    index.close()


def test_a_run_is_read_part_by_part(tmp_path):
    rows = draw(0, 100, 16)
    told = []
    run = write_run(tmp_path / "run", rows, failed=(0, 41, 99))
    index = VectorIndex.build(run, on_progress=lambda *step: told.append(step))
    assert told == [(40, 100), (80, 100), (100, 100)]
    assert np.flatnonzero(~index.is_present).tolist() == [0, 41, 99]
    stored = rows.astype(np.float16)
    for query in rows[:20]:
        found, _ = index.nearest(query, 12)
        assert found.tolist() == plain(stored, query, 12, index.is_present)[0]
    assert len(index.nearest(rows[0], 1000)[0]) == 97
    np.testing.assert_allclose(index.embedding(7), rows[7], atol=1e-3)
    assert np.linalg.norm(index.embedding(7)) == pytest.approx(1, abs=1e-6)
    some = index.embeddings(np.array([99, 5, 0, 5]))
    assert not some[0].any()
    assert not some[2].any()
    np.testing.assert_array_equal(some[1], index.embedding(5))
    np.testing.assert_array_equal(some[1], some[3])
    assert index.concepts == ()
    assert set(index.concept_codes.tolist()) == {-1}
    index.close()
    with pytest.raises((RunError, RuntimeError)):
        index.nearest(rows[0], 1)


def test_concepts_are_assigned_as_a_report_does(tmp_path):
    concepts = tuple(TaxonomyConcept(name, name.title(), (name,), name == "other") for name in ("a", "b", "other"))
    known = ConceptVectors(Taxonomy("t", "", "0" * 64, ("{}",), 0.1, concepts), draw(5, 3, 16), 10.0)
    rows = draw(0, 100, 16)
    index = VectorIndex.build(write_run(tmp_path / "run", rows, failed=(3,)), concepts=known)
    expected = known.assign(index.embeddings(np.arange(100)[index.is_present]))[0]
    assert index.concepts == ("A", "B", "Other")
    assert index.concept_codes[index.is_present].tolist() == np.where(expected == 2, -1, expected).tolist()
    assert set(index.concept_codes.tolist()) == {-1, 0, 1}
    assert index.concept_codes[3] == -1
    index.close()
    without = ConceptVectors(known.taxonomy, None, 10.0, "no encoder")
    other = VectorIndex.build(Run.open(tmp_path / "run"), concepts=without)
    assert other.concepts == ()
    other.close()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_embeddings_that_lie_elsewhere(tmp_path, dtype):
    rows = (draw(0, 50, 8) * 3).astype(dtype)
    rows[20] = 0
    np.save(tmp_path / "emb_0.npy", rows)
    adopt_embeddings(tmp_path / "emb_0.npy", tmp_path / "run", model="some/model", part_size=15)
    index = VectorIndex.build(Run.open(tmp_path / "run"))
    assert np.flatnonzero(~index.is_present).tolist() == [20]
    query = draw(1, 1, 8)[0]
    assert index.nearest(query, 10)[0].tolist() == plain(rows, query, 10, index.is_present)[0]
    index.close()


def test_groups_are_found_by_index_as_by_array(tmp_path):
    rows = draw(0, 60, 8)
    rows[30:] = rows[:30]
    index = VectorIndex.build(write_run(tmp_path / "run", rows, failed=(31,)))
    order = np.random.default_rng(0).permutation(60)
    found = [group.tolist() for group in find_groups(index, order, min_similarity=0.99)]
    assert found == [g.tolist() for g in find_groups(index.embeddings(order), order, min_similarity=0.99)]
    assert sorted(map(sorted, found)) == [[row, row + 30] for row in range(30) if row != 1]
    index.close()


def test_many_searches_at_once(tmp_path):
    rows = draw(0, 300, 16)
    index = VectorIndex.build(write_run(tmp_path / "run", rows))
    expected = [index.nearest(row, 5)[0].tolist() for row in rows[:40]]
    found: dict[int, list[int]] = {}
    threads = [
        threading.Thread(target=lambda at=at: found.update({at: index.nearest(rows[at], 5)[0].tolist()}))
        for at in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[at] for at in range(40)] == expected
    index.close()


@pytest.mark.parametrize("wrong", [np.zeros(16, "f4"), np.full(16, np.nan, "f4"), np.ones(15, "f4"), np.ones(0, "f4")])
def test_what_is_no_embedding_is_refused(wrong):
    index = index_of(draw(0, 5, 16).astype(np.float16))
    with pytest.raises(EmbeddingError, match="no embedding of this run"):
        index.nearest(wrong, 3)
    index.close()


def test_a_row_without_an_embedding_is_refused():
    index = index_of(draw(0, 5, 16).astype(np.float16), np.arange(5) != 2)
    for row in (2, -1, 5):
        with pytest.raises(EmbeddingError, match="has no embedding"):
            index.embedding(row)
    assert index.nearest(np.ones(16, "f4"), 0)[0].shape == (0,)
    assert index.nearest(np.ones(16, "f4"), 3, allowed=np.zeros(5, bool))[0].shape == (0,)
    index.close()


def test_progress_can_end_the_work_and_an_empty_run_has_an_index(tmp_path):
    def stop(_n_done: int, _n_total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VectorIndex.build(write_run(tmp_path / "run", draw(0, 100, 16)), on_progress=stop)
    empty = VectorIndex.build(write_run(tmp_path / "empty", draw(0, 0, 16)))
    assert empty.nearest(np.ones(16, "f4"), 3)[0].shape == (0,)
    empty.close()


def test_a_part_that_is_missing_or_was_written_anew_ends_the_work(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", draw(0, 100, 16))
    monkeypatch.setattr(vectors, "part_sizes", lambda _run: [40, 40, 21])
    with pytest.raises(RunConflictError, match="scanned anew while it was read"):
        VectorIndex.build(run)
    monkeypatch.undo()
    run.image_part(1).unlink()
    with pytest.raises(RunCorruptError, match="is missing"):
        VectorIndex.build(run)


def test_a_disk_without_room_is_said(small_disk, monkeypatch, tmp_path):
    run = write_run(tmp_path / "run", draw(0, 600, 1024), part_size=300)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(RunError, match="cannot keep the embeddings in a temporary file") as caught:
        VectorIndex.build(run)
    assert "TMPDIR" in str(caught.value.hint)
    assert list(small_disk.iterdir()) == []
