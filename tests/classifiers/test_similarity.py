"""Cosine, softmax and zero-shot probabilities, against arithmetic written out in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.classifiers.similarity import check_unit_norm, normalize, softmax, zero_shot_probabilities
from clipsieve.errors import EmbeddingError


def unit_rows(n, d, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def naive(images, classes, scale):
    """Return the probabilities with one loop for each sum of the formula."""
    out = np.zeros((len(images), len(classes)))
    for i, image in enumerate(images.astype(np.float64)):
        logits = [scale * sum(x * y for x, y in zip(image, row, strict=True)) for row in classes.astype(np.float64)]
        total = sum(np.exp(logit - max(logits)) for logit in logits)
        out[i] = [np.exp(logit - max(logits)) / total for logit in logits]
    return out


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_probabilities_follow_the_formula(k, scale):
    images, classes = unit_rows(5, 16), unit_rows(k, 16, seed=1)
    found = zero_shot_probabilities(images, classes, logit_scale=scale)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive(images, classes, scale), atol=2e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_the_scale_is_100_unless_told_otherwise():
    images, classes = unit_rows(3, 8), unit_rows(2, 8, seed=1)
    np.testing.assert_array_equal(
        zero_shot_probabilities(images, classes), zero_shot_probabilities(images, classes, logit_scale=100.0)
    )


def test_no_images_give_no_rows():
    assert zero_shot_probabilities(unit_rows(0, 8), unit_rows(3, 8)).shape == (0, 3)


def test_one_class_is_no_choice():
    with pytest.raises(EmbeddingError, match="too few classes") as caught:
        zero_shot_probabilities(unit_rows(2, 8), unit_rows(1, 8))
    assert caught.value.found == "k = 1"


def test_a_width_that_differs_is_named():
    with pytest.raises(EmbeddingError, match="the embeddings have another width") as caught:
        check_unit_norm(unit_rows(2, 9), 8)
    assert (caught.value.expected, caught.value.found) == ("8 columns", "9")


@pytest.mark.parametrize("factor", [0.0, 0.99, 1.01, np.nan, np.inf])
def test_the_first_row_that_is_not_unit_norm_is_named(factor):
    rows = unit_rows(5, 8)
    rows[3] *= np.float32(factor)
    with np.errstate(invalid="ignore"), pytest.raises(EmbeddingError, match="row 3 of the image embeddings"):
        zero_shot_probabilities(rows, unit_rows(2, 8))
    with np.errstate(invalid="ignore"), pytest.raises(EmbeddingError, match="row 3 of the class embeddings"):
        zero_shot_probabilities(unit_rows(2, 8), rows)


def test_rounding_to_half_precision_is_no_offence():
    check_unit_norm(unit_rows(200, 512).astype(np.float16), 512)


def test_zero_and_infinite_rows_cannot_be_normalized():
    for bad in (0.0, np.nan, np.inf):
        rows = unit_rows(3, 4)
        rows[1] = bad
        with pytest.raises(EmbeddingError, match="row 1 cannot be normalized"):
            normalize(rows)


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
)
def test_softmax_never_overflows_and_keeps_the_order(rows):
    logits = np.array(rows, dtype=np.float32)
    found = softmax(logits)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    for before, after in zip(logits, found, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()


def test_softmax_of_logits_shifted_alike_is_the_same():
    logits = np.array([[1.0, 2.0, 4.0]], dtype=np.float32)
    np.testing.assert_array_equal(softmax(logits), softmax(logits + np.float32(1024)))
