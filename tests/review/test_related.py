"""What is linked with what: exactly, by content, decision and cosine, and through others."""

import numpy as np
import pytest

from clipsieve.engines.rated_images import JoinReport, RatedImages
from clipsieve.review import related
from clipsieve.review.related import relate


def rated_images(embeddings, labels=None, digests=None) -> RatedImages:
    n = len(embeddings)
    ids = tuple(f"{i:04d}" for i in range(n))
    unit = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    labels = np.zeros(n, dtype=np.int64) if labels is None else np.array(labels, dtype=np.int64)
    report = JoinReport(n, n, {}, (), (), (), 0)
    return RatedImages(ids, ids, digests or ids, unit, np.full(n, np.nan), labels, None, None, report)


def parts(group) -> list[tuple[int, ...]]:
    return sorted(tuple(map(int, np.flatnonzero(group == name))) for name in np.unique(group))


def apart(n: int) -> np.ndarray:
    return np.eye(n) + 0.01


def test_content_and_every_decision_link_and_links_go_through_others():
    rated = rated_images(apart(7), digests=("a", "b", "a", "c", "d", "e", "f"))
    found = relate(rated, [{"g"}, {"h"}, set(), {"g", "h"}, {"i"}, set(), set()])
    assert parts(found.group) == [(0, 1, 2, 3), (4,), (5,), (6,)]
    assert found.teaches.all()


def test_near_duplicates_are_linked_and_teach_once_for_each_label():
    vectors = apart(4)[[0, 1, 0, 0, 2]]
    found = relate(rated_images(vectors, labels=[1, 0, 1, 0, 0]), [set()] * 5)
    assert parts(found.group) == [(0, 2, 3), (1,), (4,)]
    assert found.teaches.tolist() == [True, True, False, True, True]
    unlinked = relate(rated_images(vectors), [set()] * 5, min_similarity=1.5)
    assert len(parts(unlinked.group)) == 5


def test_one_image_and_the_least_cosine_itself():
    assert relate(rated_images(apart(1)), [set()]).group.tolist() == [0]
    two = rated_images(np.array([[1.0, 0.0], [0.8, 0.6]]))
    assert len(parts(relate(two, [set()] * 2, min_similarity=0.8).group)) == 1
    assert len(parts(relate(two, [set()] * 2, min_similarity=0.81).group)) == 2


@pytest.mark.parametrize("most_pairs", [0.0, 0.04, 1.0])
def test_the_bound_changes_nothing(monkeypatch, most_pairs):
    rng = np.random.default_rng(0)
    width, n = 4 * related.RANK, 600
    embeddings = rng.standard_normal((n, width)) / np.sqrt(1 + np.arange(width))
    embeddings[300:] = embeddings[rng.integers(300, size=300)] + 0.1 * embeddings[300:]
    rated = rated_images(embeddings, labels=rng.integers(2, size=n))
    least = 0.95
    plain = relate(rated, [set()] * n, min_similarity=least)
    monkeypatch.setattr(related, "MANY", 10)
    monkeypatch.setattr(related, "MOST_PAIRS", most_pairs)
    bound = relate(rated, [set()] * n, min_similarity=least)
    assert parts(bound.group) == parts(plain.group)
    assert np.array_equal(bound.teaches, plain.teaches)
    assert 100 < len(parts(plain.group)) < 500
    # By the definition, pair by pair.
    is_near = np.tril(rated.embeddings @ rated.embeddings.T >= least, -1)
    for image in np.flatnonzero(~plain.teaches):
        like_it = np.flatnonzero(is_near[image] & (rated.labels == rated.labels[image]))
        assert plain.teaches[like_it].any()
    kept = np.flatnonzero(plain.teaches)
    same = rated.labels[kept][:, None] == rated.labels[kept]
    assert not (is_near[np.ix_(kept, kept)] & same).any()
