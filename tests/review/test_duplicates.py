"""Groups of near-duplicates: what a plain loop over all pairs finds, whatever the sizes of the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.errors import UsageError
from clipsieve.review import duplicates
from clipsieve.review.duplicates import find_groups


def plain_groups(unit: np.ndarray, rows: np.ndarray, min_similarity: float) -> list[list[int]]:
    """Cluster as the docstring says, one image after the other."""
    exact, leaders, members = unit.astype(np.float64), [], {}
    for place in range(len(rows)):
        cosines = [np.float32(np.dot(exact[place], exact[leader])) for leader in leaders]
        first = next((at for at, cosine in enumerate(cosines) if cosine >= np.float32(min_similarity)), None)
        if first is None:
            leaders.append(place)
            members[place] = [place]
        else:
            members[leaders[first]].append(place)
    return [rows[group].tolist() for group in members.values() if len(group) > 1]


def draw(seed: int, n: int, spread: float, dim: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(n // 8, 1), dim))
    rows = centres[rng.integers(len(centres), size=n)] + spread * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 120), st.floats(0, 0.6), st.floats(0.3, 1), st.integers(1, 40))
def test_the_same_as_one_image_after_the_other(seed, n, spread, min_similarity, block):
    unit, rows = draw(seed, n, spread), np.random.default_rng(seed).permutation(1000)[:n]
    before = duplicates._LEADERS, duplicates._OTHERS
    duplicates._LEADERS, duplicates._OTHERS = block, 2 * block + 1
    try:
        found = find_groups(unit, rows, min_similarity=min_similarity)
    finally:
        duplicates._LEADERS, duplicates._OTHERS = before
    assert [group.tolist() for group in found] == plain_groups(unit, rows, min_similarity)


def test_no_chain_of_likenesses_joins_what_differs():
    angles = np.radians([0, 15, 30, 45])
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert [g.tolist() for g in find_groups(unit, np.arange(4), min_similarity=0.95)] == [[0, 1], [2, 3]]
    order = np.array([1, 0, 2, 3])
    assert [g.tolist() for g in find_groups(unit[order], order, min_similarity=0.95)] == [[1, 0, 2]]


def test_the_same_files_are_together_however_far_their_embeddings_are():
    unit = np.eye(5, dtype=np.float32)
    unit[4] = unit[3]
    contents = np.array([7, -1, 7, 9, -1])
    rows = np.array([50, 10, 40, 30, 20])
    found = find_groups(unit, rows, min_similarity=0.95, contents=contents)
    assert [group.tolist() for group in found] == [[50, 40], [30, 20]]


def test_at_one_the_same_embeddings_are_together_and_no_others():
    row = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    near = row.copy()
    near[0] += 0.01
    unit = np.stack([row, near, row, np.zeros(300, np.float32), np.zeros(300, np.float32)])
    assert [g.tolist() for g in find_groups(unit, np.arange(5), min_similarity=1.0)] == [[0, 2]]


def test_progress_is_told_and_what_it_raises_ends_the_work():
    told = []
    find_groups(draw(0, 700, 0.3), np.arange(700), on_progress=lambda *step: told.append(step))
    assert told[-1] == (700, 700)
    assert told == sorted(told)

    def stop(_n_done: int, _n_total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_groups(draw(0, 700, 0.3), np.arange(700), on_progress=stop)


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.5, float("nan")])
def test_what_is_no_similarity_is_refused(wrong):
    with pytest.raises(UsageError, match="no images are that similar"):
        find_groups(np.eye(2, dtype=np.float32), np.arange(2), min_similarity=wrong)


def test_nothing_to_compare():
    assert find_groups(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), contents=np.zeros(0, np.int64)) == []
