"""Which concept an image is nearest to, against arithmetic written out; and when none is near enough."""

import hashlib

import numpy as np
import pytest

from clipsieve.classifiers.taxonomy import Taxonomy, TaxonomyConcept, assign, concept_vectors
from clipsieve.errors import EmbeddingError


def unit_rows(n, d, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_hand(images, concepts, other, scale, min_margin):
    """Return the same with one softmax for each image, in float64."""
    found = []
    for image in images.astype(np.float64):
        logits = np.array([scale * float(image @ row) for row in concepts.astype(np.float64)])
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        nearest = int(np.argmax(p))
        second, best = sorted(p)[-2:]
        found.append((nearest if best - second >= min_margin else other, best - second, nearest))
    return [list(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("k", [2, 11])
@pytest.mark.parametrize("scale", [5.0, 100.0])
def test_the_margin_and_the_concept_follow_the_softmax(k, scale):
    images, concepts = unit_rows(200, 16), unit_rows(k, 16, seed=1)
    index, margin, nearest = assign(images, concepts, other=k - 1, logit_scale=scale, min_margin=0.1)
    expected = by_hand(images, concepts, k - 1, scale, 0.1)
    assert (index.dtype, margin.dtype, nearest.dtype) == (np.int64, np.float32, np.int64)
    assert index.tolist() == expected[0]
    np.testing.assert_allclose(margin, expected[1], atol=1e-4)
    assert nearest.tolist() == expected[2]
    assert len(set(index.tolist())) > 1


def test_what_is_too_close_is_other_and_what_is_nearest_to_other_stays_there():
    concepts = np.eye(3, dtype=np.float32)
    images = np.array([[1, 0, 0], [0.7072, 0.707, 0], [0, 0, 1]], dtype=np.float32)
    index, margin, nearest = assign(images, concepts, other=2, logit_scale=10.0, min_margin=0.1)
    assert index.tolist() == [0, 2, 2]
    assert nearest.tolist() == [0, 0, 2]
    assert margin[1] < 0.1 < margin[2]
    assert assign(images, concepts, other=2, logit_scale=10.0, min_margin=0.0)[0].tolist() == [0, 0, 2]
    assert assign(images[:1], concepts, other=2, logit_scale=10.0, min_margin=1.0)[0].tolist() == [2]


def test_the_margin_in_words_of_the_cosine():
    # 0.55 against 0.45, as the default's description has it: logits that differ by log(0.55 / 0.45).
    assert np.log(0.55 / 0.45) / 100 == pytest.approx(0.002, abs=1e-5)
    image = np.array([[np.sqrt(0.5) + 0.001, np.sqrt(0.5) - 0.001]])
    image = (image / np.linalg.norm(image)).astype(np.float32)
    _, margin, _ = assign(image, np.eye(2, dtype=np.float32), other=1)
    assert margin[0] == pytest.approx(0.1, abs=0.002)


def test_no_images_and_one_concept():
    assert [len(each) for each in assign(unit_rows(0, 4), unit_rows(3, 4), other=0)] == [0, 0, 0]
    with pytest.raises(EmbeddingError, match="too few"):
        assign(unit_rows(2, 4), unit_rows(1, 4), other=0)


def encode(texts):
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
    return np.concatenate([unit_rows(1, 8, seed) for seed in seeds])


def test_a_concept_is_the_mean_of_its_prompts_in_all_templates():
    concepts = (
        TaxonomyConcept("a", "A", ("gun", "knife"), is_other=False),
        TaxonomyConcept("o", "O", ("tree",), is_other=True),
    )
    taxonomy = Taxonomy("t", "", "0" * 64, ("a {}", "{}"), 0.1, concepts)
    assert taxonomy.other == 1
    found = concept_vectors(taxonomy, encode)
    mean = encode(["a gun", "gun", "a knife", "knife"]).mean(axis=0)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
